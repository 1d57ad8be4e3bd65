//! Link settings of the Tcl extension.

fn main() {
    // A dynamic tclsh exports its own `Tcl_*`; without this they would be bound
    // before ours and the adaptations of `ffi::stubs` would be bypassed.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-Bsymbolic");
    println!("cargo:rerun-if-changed=build.rs");
}
