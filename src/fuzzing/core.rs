//! The whole client without sockets: events and bytes from the fuzzer.

/// The first byte says whether servers are models that behave, as the simulator has them, or send what the
/// fuzzer likes.
pub fn core(data: &[u8]) {
    let Some((way, rest)) = data.split_first() else { return };
    if way % 2 == 0 {
        crate::simulation::fuzz::peers(rest);
    } else {
        crate::simulation::fuzz::schedule(rest);
    }
}
