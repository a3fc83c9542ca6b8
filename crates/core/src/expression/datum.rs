//! Values while an expression is evaluated, and their kinds.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// A value. It borrows from the exchange or from the expression wherever it can.
#[derive(Clone, Debug)]
pub(super) enum Datum<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Cow<'a, str>),
    List(Listed<'a>),
    Claims(&'a Map<String, Value>),
}

/// A list.
#[derive(Clone, Debug)]
pub(super) enum Listed<'a> {
    Texts(&'a [String]),
    /// The parts of a text between commas.
    Parts(&'a str),
    Json(&'a [Value]),
    Constant(&'a [Datum<'a>]),
    Made(Vec<Datum<'a>>),
}

/// What a value is known to be before there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DatumKind {
    Null,
    Bool,
    Int,
    Double,
    Text,
    List(Box<DatumKind>),
    /// Claims by name.
    Claims,
    /// Whatever a claim may be.
    Any,
}

impl DatumKind {
    /// Whether a value of this kind may be one of the other.
    pub(super) fn may_be(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::List(one), Self::List(two)) => one.may_be(two),
            (one, two) => one == two,
        }
    }

    pub(super) fn may_be_number(&self) -> bool {
        matches!(self, Self::Int | Self::Double | Self::Any)
    }
}

impl std::fmt::Display for DatumKind {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => to.write_str("null"),
            Self::Bool => to.write_str("true or false"),
            Self::Int => to.write_str("a whole number"),
            Self::Double => to.write_str("a number"),
            Self::Text => to.write_str("a text"),
            Self::List(_) => to.write_str("a list"),
            Self::Claims => to.write_str("a set of claims"),
            Self::Any => to.write_str("a value of any kind"),
        }
    }
}

impl<'a> Datum<'a> {
    pub(super) fn kind_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Int(_) => "a whole number",
            Self::Double(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Claims(_) => "a set of claims",
        }
    }

    pub(super) fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    pub(super) fn of_json(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => match number.as_i64() {
                Some(number) => Self::Int(number),
                None => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => Self::text(text),
            Value::Array(list) => Self::List(Listed::Json(list)),
            Value::Object(claims) => Self::Claims(claims),
        }
    }

    /// The same value, borrowed.
    pub(super) fn borrow(&'a self) -> Self {
        match self {
            Self::Text(text) => Self::text(text),
            Self::List(Listed::Made(list)) => Self::List(Listed::Constant(list)),
            other => other.clone(),
        }
    }
}

impl<'a> Listed<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Texts(list) => list.len(),
            Self::Parts("") => 0,
            Self::Parts(text) => text.split(',').count(),
            Self::Json(list) => list.len(),
            Self::Constant(list) => list.len(),
            Self::Made(list) => list.len(),
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<Datum<'a>> {
        match self {
            Self::Texts(list) => list.get(index).map(|text| Datum::text(text)),
            Self::Parts(text) => text.split(',').nth(index).filter(|_| !text.is_empty()).map(Datum::text),
            Self::Json(list) => list.get(index).map(Datum::of_json),
            Self::Constant(list) => list.get(index).map(Datum::borrow),
            Self::Made(list) => list.get(index).cloned(),
        }
    }

    /// Calls `visit` with each member, until it returns true. Returns whether it has.
    pub(super) fn any<F>(&self, mut visit: impl FnMut(Datum<'a>) -> Result<bool, F>) -> Result<bool, F> {
        match self {
            Self::Texts(list) => each(list.iter().map(|text| Datum::text(text)), &mut visit),
            Self::Parts("") => Ok(false),
            Self::Parts(text) => each(text.split(',').map(Datum::text), &mut visit),
            Self::Json(list) => each(list.iter().map(Datum::of_json), &mut visit),
            Self::Constant(list) => each(list.iter().map(Datum::borrow), &mut visit),
            Self::Made(list) => each(list.iter().cloned(), &mut visit),
        }
    }
}

fn each<'a, F>(
    members: impl Iterator<Item = Datum<'a>>,
    visit: &mut impl FnMut(Datum<'a>) -> Result<bool, F>,
) -> Result<bool, F> {
    for member in members {
        if visit(member)? {
            return Ok(true);
        }
    }
    Ok(false)
}
