//! Gives the shared library its soname: the major version is the version of its ABI.

fn main() {
    let major = std::env::var("CARGO_PKG_VERSION_MAJOR").unwrap_or_default();
    match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("macos") => {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/librs_script.{major}.dylib");
        }
        Ok("linux") => println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,librs_script.so.{major}"),
        _ => {}
    }
    println!("cargo:rerun-if-changed=build.rs");
}
