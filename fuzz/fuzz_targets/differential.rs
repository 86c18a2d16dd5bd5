//! Fuzzes the decoder against other decoders. Input is that of the target `decode`, whose limits and cuts are left out.
#![no_main]

#[path = "../differential/mod.rs"]
mod differential;

libfuzzer_sys::fuzz_target!(
    init: {
        if std::env::var_os("RS_SCRIPT_DIFFERENCES").is_some() {
            differential::table::print();
            std::process::exit(0);
        }
    },
    |data: &[u8]| {
        let cuts = data.get(2).map_or(0, |cuts| usize::from(cuts % 32));
        differential::compare(data.get(3 + cuts..).unwrap_or_default());
    }
);
