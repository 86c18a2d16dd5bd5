//! What a client knows, and how far each of its calls has come. Each file can be read alone, and none decides what is
//! done next.

pub(super) mod answers;
pub(super) mod attempt;
pub(super) mod conn;
pub(super) mod engine;
pub(super) mod everywhere;
pub(super) mod evidence;
pub(super) mod fan_out;
pub(super) mod history;
pub(super) mod login;
pub(super) mod refresh;
mod repeats;
pub(super) mod servers;
pub(super) mod sharing;
pub(super) mod single;
pub(super) mod slot_map;
pub(super) mod timers;
