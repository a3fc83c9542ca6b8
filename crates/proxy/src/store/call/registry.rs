//! What nodes share of where instances come from.
//!
//! `pylae.registry` makes the calls and reads the answers, with `registrations.py` and `sharing.py`.

use super::{Script, ScriptArg, ScriptCall};

static REGISTRATIONS: Script = Script::new("registrations", include_str!("registrations.lua"));
static LOOKUP: Script = Script::new("lookup", include_str!("lookup.lua"));
static LATEST: Script = Script::new("latest", include_str!("latest.lua"));

/// The script of this name, which also begins its keys.
pub(crate) fn script(name: &str) -> Option<&'static Script> {
    [&REGISTRATIONS, &LOOKUP, &LATEST].into_iter().find(|script| script.name == name)
}

/// The call of a script.
pub(crate) fn call(script: &'static Script, key: Vec<u8>, args: Vec<Vec<u8>>) -> ScriptCall {
    ScriptCall { script, key, args: args.into_iter().map(ScriptArg::Bytes).collect() }
}
