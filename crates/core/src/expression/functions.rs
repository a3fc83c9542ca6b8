//! The functions of expressions: this is the only list of them.

use std::borrow::Cow;

use super::budget::Budget;
use super::datum::{Datum, DatumKind};
use super::failure::ExpressionFailure;

/// A function of values. `matches`, `containsIP` and `values` are compiled for themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    LowerAscii,
    UpperAscii,
    ToInt,
    ToDouble,
    ToText,
}

/// The functions that are called on a value, for suggestions.
pub(super) const METHODS: &[&str] = &[
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "size",
    "lowerAscii",
    "upperAscii",
    "values",
    "containsIP",
    "exists",
    "all",
    "exists_one",
];
/// The functions that are called on their own.
pub(super) const GLOBALS: &[&str] = &["size", "has", "int", "double", "string", "matches", "cidr"];

/// Longest text that is put together, in bytes.
const MAX_TEXT: usize = 8192;

impl Function {
    /// The function of a name, which is called on a value or not.
    pub(super) fn find(name: &str, on_value: bool) -> Option<Self> {
        Some(match (name, on_value) {
            ("size", _) => Self::Size,
            ("contains", true) => Self::Contains,
            ("startsWith", true) => Self::StartsWith,
            ("endsWith", true) => Self::EndsWith,
            ("lowerAscii", true) => Self::LowerAscii,
            ("upperAscii", true) => Self::UpperAscii,
            ("int", false) => Self::ToInt,
            ("double", false) => Self::ToDouble,
            ("string", false) => Self::ToText,
            _ => return None,
        })
    }

    /// Number of values that it takes, the one that it is called on included.
    pub(super) fn arity(self) -> usize {
        if matches!(self, Self::Contains | Self::StartsWith | Self::EndsWith) { 2 } else { 1 }
    }

    /// What it gives.
    pub(super) fn kind(self) -> DatumKind {
        match self {
            Self::Size | Self::ToInt => DatumKind::Int,
            Self::Contains | Self::StartsWith | Self::EndsWith => DatumKind::Bool,
            Self::LowerAscii | Self::UpperAscii | Self::ToText => DatumKind::Text,
            Self::ToDouble => DatumKind::Double,
        }
    }

    /// Whether it takes a value of this kind. `first` is the value that it is called on, or its only one.
    pub(super) fn takes(self, kind: &DatumKind) -> bool {
        match self {
            Self::Size => {
                matches!(kind, DatumKind::Text | DatumKind::List(_) | DatumKind::Claims | DatumKind::Any)
            }
            Self::ToInt | Self::ToDouble => kind.may_be_number() || *kind == DatumKind::Text,
            Self::ToText => kind.may_be_number() || matches!(kind, DatumKind::Text | DatumKind::Bool),
            _ => matches!(kind, DatumKind::Text | DatumKind::Any),
        }
    }
}

/// Calls a function.
pub(super) fn call<'a>(
    budget: &Budget,
    function: Function,
    value: Datum<'a>,
    with: Option<Datum<'a>>,
    at: u32,
) -> Result<Datum<'a>, ExpressionFailure> {
    match function {
        Function::Size => size(budget, &value, at),
        Function::Contains | Function::StartsWith | Function::EndsWith => {
            let (text, part) = (expect_text(value, at)?, expect_text(with.unwrap_or(Datum::Null), at)?);
            budget.take_bytes(text.len() + part.len(), at)?;
            Ok(Datum::Bool(match function {
                Function::Contains => memchr::memmem::find(text.as_bytes(), part.as_bytes()).is_some(),
                Function::StartsWith => text.starts_with(&*part),
                _ => text.ends_with(&*part),
            }))
        }
        Function::LowerAscii | Function::UpperAscii => {
            let text = expect_text(value, at)?;
            budget.take_bytes(text.len(), at)?;
            let (lower, is_changed): (_, fn(u8) -> bool) = match function {
                Function::LowerAscii => (true, |byte| byte.is_ascii_uppercase()),
                _ => (false, |byte| byte.is_ascii_lowercase()),
            };
            if !text.bytes().any(is_changed) {
                return Ok(Datum::Text(text));
            }
            Ok(Datum::Text(Cow::Owned(if lower { text.to_ascii_lowercase() } else { text.to_ascii_uppercase() })))
        }
        Function::ToInt => to_int(value, at),
        Function::ToDouble => match value {
            // As CEL has it: the nearest one.
            #[allow(clippy::cast_precision_loss)]
            Datum::Int(number) => Ok(Datum::Double(number as f64)),
            Datum::Double(number) => Ok(Datum::Double(number)),
            Datum::Text(text) => text.parse().map(Datum::Double).map_err(|_| ExpressionFailure::not_convertible(at)),
            _ => Err(ExpressionFailure::not_convertible(at)),
        },
        Function::ToText => to_text(value, at),
    }
}

/// Number of characters of a text, or of members of a list or a set.
fn size(budget: &Budget, value: &Datum<'_>, at: u32) -> Result<Datum<'static>, ExpressionFailure> {
    let size = match value {
        Datum::Text(text) => {
            budget.take_bytes(text.len(), at)?;
            text.chars().count()
        }
        Datum::List(list) => list.len(),
        Datum::Claims(claims) => claims.len(),
        other => return Err(ExpressionFailure::wrong_kind(at, other.kind_name(), "a text or a list")),
    };
    i64::try_from(size).map(Datum::Int).map_err(|_| ExpressionFailure::out_of_range(at))
}

/// Puts two texts together.
pub(super) fn join<'a>(
    budget: &Budget,
    one: Cow<'a, str>,
    other: &str,
    at: u32,
) -> Result<Datum<'a>, ExpressionFailure> {
    if one.len() + other.len() > MAX_TEXT {
        return Err(ExpressionFailure::too_long(at));
    }
    budget.take_bytes(one.len() + other.len(), at)?;
    let mut joined = one.into_owned();
    joined.push_str(other);
    Ok(Datum::Text(Cow::Owned(joined)))
}

pub(super) fn expect_text(value: Datum<'_>, at: u32) -> Result<Cow<'_, str>, ExpressionFailure> {
    match value {
        Datum::Text(text) => Ok(text),
        other => Err(ExpressionFailure::wrong_kind(at, other.kind_name(), "a text")),
    }
}

fn to_int(value: Datum<'_>, at: u32) -> Result<Datum<'_>, ExpressionFailure> {
    match value {
        Datum::Int(_) => Ok(value),
        // Towards zero; both bounds are exact numbers of this kind.
        Datum::Double(number) if number > -9_223_372_036_854_775_808.0 && number < 9_223_372_036_854_775_808.0 => {
            Ok(Datum::Int(number as i64))
        }
        Datum::Double(_) => Err(ExpressionFailure::out_of_range(at)),
        Datum::Text(text) => text.parse().map(Datum::Int).map_err(|_| ExpressionFailure::not_convertible(at)),
        _ => Err(ExpressionFailure::not_convertible(at)),
    }
}

fn to_text(value: Datum<'_>, at: u32) -> Result<Datum<'_>, ExpressionFailure> {
    Ok(Datum::Text(match value {
        Datum::Text(text) => text,
        Datum::Int(number) => Cow::Owned(number.to_string()),
        Datum::Double(number) => Cow::Owned(number.to_string()),
        Datum::Bool(answer) => Cow::Borrowed(if answer { "true" } else { "false" }),
        _ => return Err(ExpressionFailure::not_convertible(at)),
    }))
}
