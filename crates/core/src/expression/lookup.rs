//! Reads header fields, query parameters and cookies by name.

use std::borrow::Cow;

use super::datum::Datum;
use super::failure::ExpressionFailure;
use super::scope::ExpressionScope;
use crate::request::{cookie, forwarding, query};

/// Where there are values by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LookupSource {
    Request,
    Query,
    Cookies,
    Response,
}

impl LookupSource {
    /// Calls `visit` with each value of `name`.
    fn each<'a>(self, scope: &ExpressionScope<'a>, name: &str, mut visit: impl FnMut(Cow<'a, [u8]>)) {
        let exchange = scope.exchange;
        let request = &exchange.request;
        match self {
            Self::Request => {
                // What a client says of itself is never sent on either.
                if !forwarding::is_unbelievable(exchange, name.as_bytes()) {
                    request.values(name).for_each(|value| visit(Cow::Borrowed(value)));
                }
            }
            Self::Query => query::pairs(request.query().unwrap_or_default())
                .filter(|(sent, _)| *query::decoded(sent) == *name.as_bytes())
                .for_each(|(_, value)| visit(query::decoded(value))),
            Self::Cookies => cookie::all(exchange)
                .filter(|(sent, _)| *sent == name.as_bytes())
                .for_each(|(_, value)| visit(Cow::Borrowed(value))),
            Self::Response => exchange.response.values(name).for_each(|value| visit(Cow::Borrowed(value))),
        }
    }

    /// The one value of a name. More than one is no value: they might mean different things to whoever reads them.
    pub(super) fn value<'a>(
        self,
        scope: &ExpressionScope<'a>,
        name: &str,
        at: u32,
    ) -> Result<Datum<'a>, ExpressionFailure> {
        let (mut found, mut count) = (None, 0);
        self.each(scope, name, |value| {
            count += 1;
            found = Some(value);
        });
        match found {
            Some(value) if count == 1 => to_text(value, at),
            Some(_) => Err(ExpressionFailure::repeated(at)),
            None => Err(ExpressionFailure::absent(at)),
        }
    }

    pub(super) fn values<'a>(
        self,
        scope: &ExpressionScope<'a>,
        name: &str,
        at: u32,
    ) -> Result<Vec<Datum<'a>>, ExpressionFailure> {
        let mut values = Vec::new();
        self.each(scope, name, |value| values.push(to_text(value, at)));
        values.into_iter().collect()
    }

    pub(super) fn has(self, scope: &ExpressionScope<'_>, name: &str) -> bool {
        let mut found = false;
        self.each(scope, name, |_| found = true);
        found
    }

    /// Number of bytes that are looked through for a name.
    pub(super) fn size(self, scope: &ExpressionScope<'_>) -> usize {
        let request = &scope.exchange.request;
        match self {
            // Fields are compared by their names only.
            Self::Request => 8 * request.head.fields.len(),
            Self::Query => request.query().map_or(0, <[u8]>::len),
            Self::Cookies => request.values("cookie").map(<[u8]>::len).sum(),
            Self::Response => 8 * scope.exchange.response.head.fields.len(),
        }
    }
}

fn to_text(value: Cow<'_, [u8]>, at: u32) -> Result<Datum<'_>, ExpressionFailure> {
    let text = match value {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    };
    text.map(Datum::Text).ok_or_else(|| ExpressionFailure::not_text(at))
}
