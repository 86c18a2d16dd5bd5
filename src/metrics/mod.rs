//! What calls cost and what came of them: told call by call, and added up for each script.

pub(crate) mod figures;
pub(crate) mod meter;
