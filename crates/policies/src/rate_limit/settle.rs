//! What tells the true cost of a request.

use pylae_core::Exchange;
use pylae_http::Edits;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const FIELD: &str = "header:";
const HOOK: &str = "hook";

/// What tells the true cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Settle {
    /// A field of the instance's response, by its name in lower case; or a hook.
    Field(Box<str>),
    /// Only a hook.
    Hook,
}

/// A limit that is settled.
pub(super) struct SettledLimit {
    /// Its index among the limits.
    pub(super) limit: usize,
    pub(super) by: Settle,
}

impl<'de> Deserialize<'de> for Settle {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        match text.strip_prefix(FIELD) {
            Some(name) if !name.is_empty() => Ok(Self::Field(name.into())),
            None if text == HOOK => Ok(Self::Hook),
            _ => Err(serde::de::Error::custom("must be header:NAME or hook")),
        }
    }
}

impl Serialize for Settle {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Field(name) => to.serialize_str(&format!("{FIELD}{name}")),
            Self::Hook => to.serialize_str(HOOK),
        }
    }
}

impl Settle {
    /// Returns what is wrong with it: the field must be one that may be kept from the client.
    pub(super) fn check(&self) -> Option<&'static str> {
        match self {
            Self::Field(name) => Edits::default().set(name.as_bytes(), b"0").err().map(|error| error.0),
            Self::Hook => None,
        }
    }
}

/// Returns the cost that the instance's response states: a whole number, in one field.
pub(super) fn stated_cost(exchange: &Exchange, name: &str) -> Option<u32> {
    let mut values = exchange.response.head.fields.values(&exchange.response.buffer, name);
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let digits = value.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().try_fold(0_u32, |sum, digit| sum.checked_mul(10)?.checked_add(u32::from(digit - b'0')));
    Some(number.unwrap_or(u32::MAX))
}
