//! Links `pinpod-init` by itself: its own `_start`, no C library, no dynamic loader, no relocation
//! that someone else would have to apply.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for argument in [
        "-nostartfiles",
        "-nodefaultlibs",
        // Last of its kind, so it wins over what the target asks for.
        "-no-pie",
        // The standard library names shared libraries that nothing here uses.
        "-Wl,--as-needed",
        "-Wl,--no-dynamic-linker",
        "-Wl,--build-id=none",
        "-Wl,-z,noseparate-code",
        "-Wl,-z,noexecstack",
        "-Wl,-z,norelro",
    ] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
