//! Link settings of the Tcl extension.

fn main() {
    // Where symbols are bound by name alone (ELF), a dynamic tclsh exports its own `Tcl_*`:
    // without this they would be bound before ours, and the adaptations of `ffi::stubs` would
    // be bypassed. macOS and Windows bind a library's symbols to the library itself, and their
    // linkers do not know the option.
    let target = |name: &str| std::env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    if target("FAMILY") == "unix" && target("VENDOR") != "apple" {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-Bsymbolic");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
