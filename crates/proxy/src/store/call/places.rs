//! The places of a concurrency limit in the store: see [`pylae_core::limit::Places`], whose work `places.lua` does.

use pylae_core::limit::concurrency::PLACES_LIFETIME;
use pylae_core::limit::{PlacesAnswer, PlacesCall};

use super::{Script, ScriptArg, ScriptCall, StoreValue};

static PLACES: Script = Script::new("places", include_str!("places.lua"));

/// The call of the script.
pub(crate) fn call(key: Vec<u8>, call: &PlacesCall) -> ScriptCall {
    let numbers = [call.limit, call.keep, call.need, call.extra, call.share].map(i64::from);
    let mut args = vec![call.node.to_be_bytes().to_vec().into(), ScriptArg::Integer(call.number.cast_signed())];
    args.extend(numbers.map(ScriptArg::from));
    ScriptCall { script: &PLACES, key, args }
}

/// The answer to a call; None if it cannot be one.
pub(crate) fn answer(call: &PlacesCall, value: &StoreValue) -> Option<PlacesAnswer> {
    let items = value.as_array()?;
    let number = |place: usize, most: u64| {
        let number = u64::try_from(items.get(place)?.as_integer()?).ok()?;
        (number <= most).then_some(number)
    };
    let most = u64::from(call.keep) + u64::from(call.need) + u64::from(call.extra);
    Some(PlacesAnswer {
        total: number(0, most)?.try_into().ok()?,
        left: number(1, call.limit.into())?.try_into().ok()?,
        valid_for: number(2, PLACES_LIFETIME)?,
        replaced: number(3, 1)? == 1,
    })
}

#[cfg(test)]
mod tests;
