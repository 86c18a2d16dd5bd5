//! Gives the shared library its soname, which says what programs are bound to: before 1.0 a minor version may change
//! the ABI, from then on a major version. CMakeLists.txt says the same.

fn main() {
    let part = |name| std::env::var(name).unwrap_or_default();
    let (major, minor) = (part("CARGO_PKG_VERSION_MAJOR"), part("CARGO_PKG_VERSION_MINOR"));
    let abi = if major == "0" { format!("0.{minor}") } else { major };
    match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("macos") => {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/librs_script.{abi}.dylib");
        }
        Ok("linux") => println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,librs_script.so.{abi}"),
        _ => {}
    }
    println!("cargo:rerun-if-changed=build.rs");
}
