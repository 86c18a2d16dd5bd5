//! Links hiredis's reader, which scripts/fuzz has built, into what compares decoders.

fn main() {
    println!("cargo::rerun-if-env-changed=RS_SCRIPT_HIREDIS");
    if std::env::var_os("CARGO_FEATURE_DIFFERENTIAL").is_some() {
        let folder =
            std::env::var("RS_SCRIPT_HIREDIS").expect("scripts/fuzz --differential says where hiredis is");
        println!("cargo::rerun-if-changed={folder}/libhiredis-reader.a");
        println!("cargo::rustc-link-arg-bin=differential={folder}/libhiredis-reader.a");
    }
}
