//! Conditions on fields, query parameters and cookies.

use pylae_http::Fields;
use regex_automata::hybrid::dfa::Cache;

use crate::plan::{ValueMatch, ValueTest};
use crate::request::{cookie, query};
use crate::route::matching::pattern::{self, PatternSet};

/// Cache for the determinised states of one value pattern in every worker, in bytes.
const VALUE_CACHE: usize = 256 * 1024;

/// A source of field values.
pub(crate) trait FieldValues {
    /// Returns true if a value of the field `name` passes `test`.
    fn any(&self, name: &str, test: impl FnMut(&[u8]) -> bool) -> bool;
}

/// The fields of a parsed head.
pub(crate) struct InHead<'a> {
    pub(crate) fields: &'a Fields,
    pub(crate) buf: &'a [u8],
}

impl FieldValues for InHead<'_> {
    fn any(&self, name: &str, test: impl FnMut(&[u8]) -> bool) -> bool {
        self.fields.values(self.buf, name).any(test)
    }
}

/// What a condition applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConditionSource {
    Field,
    Query,
    Cookie,
}

/// A condition on a field, a query parameter or a cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Predicate {
    pub(crate) source: ConditionSource,
    pub(crate) name: Box<str>,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Present,
    Equals(Box<[u8]>),
    /// Index in [`ValuePatterns`].
    Pattern(usize),
}

/// The patterns of all conditions, without duplicates.
#[derive(Default)]
pub(crate) struct ValuePatterns {
    texts: Vec<String>,
    sets: Vec<PatternSet>,
}

impl ValuePatterns {
    fn add(&mut self, text: &str) -> Result<usize, String> {
        if let Some(at) = self.texts.iter().position(|t| t == text) {
            return Ok(at);
        }
        let hir = pattern::parse(text)?;
        pattern::compile(&hir)?;
        self.sets.push(PatternSet::build(&[hir], VALUE_CACHE)?);
        self.texts.push(text.to_owned());
        Ok(self.texts.len() - 1)
    }
}

/// Reusable memory for testing conditions.
#[derive(Default)]
pub(crate) struct ValueScratch {
    caches: Vec<Option<Cache>>,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl ValueScratch {
    /// Drops what belongs to another router.
    pub(crate) fn reset(&mut self) {
        self.caches.clear();
    }
}

impl Predicate {
    /// Builds one condition of the plan; the error has the name of the key and what is wrong with it.
    pub(crate) fn build(
        source: ConditionSource,
        from: &ValueMatch,
        patterns: &mut ValuePatterns,
    ) -> Result<Self, (&'static str, String)> {
        if from.name.is_empty() {
            return Err(("name", "the name is empty".into()));
        }
        let is_token = from.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        let name = match source {
            ConditionSource::Field if !is_token => {
                return Err(("name", format!("`{}` is not a field name", from.name)));
            }
            ConditionSource::Cookie if !is_token => {
                return Err(("name", format!("`{}` is not the name of a cookie", from.name)));
            }
            ConditionSource::Field => from.name.to_ascii_lowercase(),
            ConditionSource::Query | ConditionSource::Cookie => from.name.clone(),
        };
        let test = match &from.value {
            ValueTest::Present => Test::Present,
            ValueTest::Equals(value) => Test::Equals(value.as_bytes().into()),
            ValueTest::Pattern(text) => Test::Pattern(patterns.add(text).map_err(|e| ("value", e))?),
        };
        Ok(Self { source, name: name.into(), test })
    }

    /// Returns true if `other` requires another value of the same name. A request may have both values, but its sender
    /// may leave one out.
    pub(crate) fn excludes(&self, other: &Self) -> bool {
        let equals = |one: &Self| matches!(one.test, Test::Equals(_));
        self.source == other.source && self.name == other.name && equals(self) && equals(other) && self != other
    }

    /// Returns true if the request meets the condition; false if the engine cannot decide.
    pub(crate) fn matches(
        &self,
        headers: &impl FieldValues,
        query: Option<&[u8]>,
        patterns: &ValuePatterns,
        scratch: &mut ValueScratch,
    ) -> bool {
        let ValueScratch { caches, name, value } = scratch;
        match self.source {
            ConditionSource::Field => headers.any(&self.name, |value| self.test.matches(value, patterns, caches)),
            ConditionSource::Cookie => headers.any("cookie", |line| {
                cookie::pairs(line).any(|(sent_name, sent_value)| {
                    sent_name == self.name.as_bytes() && self.test.matches(sent_value, patterns, caches)
                })
            }),
            ConditionSource::Query => query::pairs(query.unwrap_or_default()).any(|(sent_name, sent_value)| {
                query::decoded_in(sent_name, name) == self.name.as_bytes()
                    && self.test.matches(query::decoded_in(sent_value, value), patterns, caches)
            }),
        }
    }
}

impl Test {
    fn matches(&self, value: &[u8], patterns: &ValuePatterns, caches: &mut Vec<Option<Cache>>) -> bool {
        match self {
            Self::Present => true,
            Self::Equals(wanted) => **wanted == *value,
            Self::Pattern(at) => {
                if caches.len() <= *at {
                    caches.resize_with(at + 1, || None);
                }
                let set = &patterns.sets[*at];
                let mut found = false;
                let cache = caches[*at].get_or_insert_with(|| set.cache());
                set.scan(cache, value, |_| {
                    found = true;
                    true
                })
                .is_ok()
                    && found
            }
        }
    }
}
