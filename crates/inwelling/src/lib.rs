//! Stands in for the crate `inwelling` in builds of this project ([patch] in Cargo.toml).
//!
//! The build script of `clib` asks that crate which packages want a C library bound.
//! The original waits until cargo's build directory has been quiet for five seconds
//! and takes what build scripts have left there by then. When the machine is busy and
//! the script of `tcl` has not run yet, nothing is there, `clib` is built empty, and
//! the build fails. Here the answer does not depend on time: it is read from the
//! manifest of the version of `tcl` that Cargo.lock names.

use std::path::{Path, PathBuf};
use std::{env, fs};

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

/// What packages ask of the one whose build script calls this.
pub fn collect_downstream(_: Opts) -> Downstream {
    let asked = variable("CARGO_PKG_NAME");
    let manifest = tcl_manifest(Path::new(&variable("CARGO_MANIFEST_DIR")));
    println!("cargo:rerun-if-changed={}", manifest.display());
    let text = read(&manifest);
    let table: toml::Table = text.parse().expect("the manifest of tcl is TOML");
    let metadata = ["package", "metadata", "inwelling", &asked]
        .iter()
        .try_fold(&toml::Value::Table(table), |value, key| value.get(key))
        .cloned();
    let packages = metadata.map(|metadata| Package { manifest, metadata });
    Downstream {
        packages: packages.into_iter().collect(),
    }
}

/// The manifest of `tcl`, which lies beside the package that asks: with its version in
/// the name in cargo's registry, without it in a directory of `cargo vendor`.
fn tcl_manifest(asking: &Path) -> PathBuf {
    let lock = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock"));
    let lock: toml::Table = lock.parse().expect("Cargo.lock is TOML");
    let packages = lock["package"].as_array().expect("Cargo.lock lists packages");
    let tcl = packages.iter().find(|p| p["name"].as_str() == Some("tcl"));
    let version = tcl.and_then(|p| p["version"].as_str());
    let version = version.expect("Cargo.lock names a version of tcl");
    let siblings = asking.parent().expect("a package lies in a directory");
    let names = [format!("tcl-{version}"), "tcl".to_owned()];
    let manifests = names.map(|name| siblings.join(name).join("Cargo.toml"));
    let found = manifests.into_iter().find(|manifest| manifest.exists());
    found.unwrap_or_else(|| panic!("no tcl {version} beside {}", asking.display()))
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
