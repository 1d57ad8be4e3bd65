//! Stands in for the crate `inwelling` in builds of this project ([patch] in Cargo.toml).
//!
//! The build script of `clib` asks that crate which packages want a C library bound. Then it
//! looks for the library and has `bindgen` read its headers, which takes pkg-config, libclang
//! and Tcl's development files. Here the answer is a library of which there is nothing to find,
//! and in its place a file that `bindgen` has written once, src/ffi/tcl86.rs (by tcl86.sh there).
//!
//! The library needs no more: it is linked with no libtcl, but finds Tcl's functions in the
//! stub table of the interpreter that loads it, where they keep their places and arguments. So
//! what is built does not depend on the Tcl of the machine that builds it.
//!
//! The original has another fault, too: it waits until cargo's build directory has been quiet
//! for five seconds and takes what build scripts have left there by then. When the machine is
//! busy and the script of `tcl` has not run yet, nothing is there, and the build fails.

use std::path::{Path, PathBuf};

/// What a package asks for.
pub struct Package {
    /// Its Cargo.toml.
    pub manifest: PathBuf,
    /// The part of `[package.metadata.inwelling]` for the crate that asks.
    pub metadata: toml::Value,
}

/// All that ask for something.
#[derive(Default)]
pub struct Downstream {
    /// One entry for each package.
    pub packages: Vec<Package>,
}

/// Options, of which there are none here.
#[derive(Default)]
pub struct Opts;

/// Called by the build script of a package that asks; nothing has to be left behind.
pub fn to(_upstream: &str) {}

/// What packages ask of `clib`: to bind Tcl, by the file here.
pub fn collect_downstream(_: Opts) -> Downstream {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let bindings = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src/ffi/tcl86.rs");
    println!("cargo:rerun-if-changed={}", bindings.display());
    let metadata = toml::toml! {
        // pkg-config knows no such library, so the file is taken.
        build = ["tcl86-stub-table"]
        [spec."tcl86-stub-table"]
        for-docs-rs = "../../src/ffi/tcl86.rs"
    };
    let metadata = toml::Value::Table(metadata);
    Downstream { packages: vec![Package { manifest, metadata }] }
}
