//! Which stored response answers which request: `Vary` (RFC 9111 section 4.1).

use std::sync::Arc;

use pylae_http::{Edits, Name, NameSet};

use crate::Exchange;
use crate::cache::rules::CacheRules;
use crate::cache::selection::language;
use crate::exchange::user::User;
use crate::request::forwarding;

/// Fields that the gateway writes from things that are part of every key.
const KEYED: NameSet = NameSet::of(&[Name::Host, Name::XForwardedHost, Name::XForwardedProto]);
/// The same for requests without hooks, which could change the prefix.
const KEYED_WITHOUT_HOOKS: NameSet = KEYED.with(NameSet::of(&[Name::XForwardedPrefix]));
/// Fields that the gateway writes and that are not part of the key, and fields that identify one request: a response
/// that varies by one of them cannot be shared.
const OWN: NameSet = NameSet::of(&[
    Name::Forwarded,
    Name::Traceparent,
    Name::Tracestate,
    Name::XForwardedFor,
    Name::XForwardedPort,
    Name::XRealIp,
    Name::XRequestId,
]);
/// Largest number of fields in Vary.
const MOST_NAMES: usize = 16;

/// Returns true if the request field `name`, in lower case, may be part of a key. Fields that differ in each request
/// may not.
pub fn is_key(name: &str) -> bool {
    name != "*" && !OWN.has(Name::classify(name.as_bytes()))
}

/// The request's values of the fields that select among responses, by lower-case name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selecting(Box<[(Box<str>, Value)]>);

/// Value of a field, or None without the field.
type Value = Option<Box<[u8]>>;

/// The request as the cache saw it at lookup. No key contains what hooks change later.
#[derive(Debug)]
pub(crate) struct RequestFacts {
    edits: Edits,
    user: Option<Arc<User>>,
}

impl RequestFacts {
    pub(crate) fn of(exchange: &Exchange) -> Self {
        Self { edits: exchange.request.edits.clone(), user: exchange.request.user.clone() }
    }

    /// Returns true if the response is stored for one user alone.
    pub(crate) fn is_keyed_by_user(&self, per_user: bool) -> bool {
        per_user && self.user.is_some()
    }
}

impl Selecting {
    /// Reads the request's values of the fields that Vary of its response names; `facts` is the request at lookup.
    /// Returns None if the response cannot answer another request.
    pub(crate) fn read(exchange: &Exchange, facts: &RequestFacts, rules: &CacheRules) -> Option<Self> {
        let keyed = if exchange.hooks().is_some() { KEYED } else { KEYED_WITHOUT_HOOKS };
        let keyed = if facts.is_keyed_by_user(rules.per_user) { keyed.with(forwarding::IDENTITY) } else { keyed };
        let mut names: Vec<Box<str>> = Vec::new();
        for line in exchange.response.head.fields.values(&exchange.response.buffer, "vary") {
            for name in line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()) {
                let id = Name::classify(name);
                let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
                if name == "*" || OWN.has(id) || names.len() == MOST_NAMES {
                    return None;
                }
                // What the member of a split changes is the same for all requests with its key.
                let constant = exchange.member().is_some_and(|member| member.changes(&name));
                if !keyed.has(id) && !constant && !names.iter().any(|other| **other == *name) {
                    names.push(name.into());
                }
            }
        }
        names.sort();
        let (mut value, mut sent) = (Vec::new(), Vec::new());
        let said = names.into_iter().map(|name| {
            let present = join_lines_with(exchange, (&facts.edits, facts.user.as_deref()), rules, &name, &mut value);
            let forwarded = join(exchange, rules, &name, &mut sent);
            // A value that a hook has changed since is not seen at the next lookup. Accept-Encoding is an exception:
            // hooks that read bodies change it in the same way for all requests.
            let same = (present, &value) == (forwarded, &sent) || *name == *"accept-encoding";
            same.then(|| (name, present.then(|| value.as_slice().into())))
        });
        said.collect::<Option<_>>().map(Self)
    }

    /// Returns true if the request in `exchange` has the same values. `scratch` is reused memory.
    pub(crate) fn matches(&self, exchange: &Exchange, rules: &CacheRules, scratch: &mut Vec<u8>) -> bool {
        self.0.iter().all(|(name, said)| {
            let present = join(exchange, rules, name, scratch);
            match said {
                Some(value) => present && **value == **scratch,
                None => !present,
            }
        })
    }

    /// Appends the values of the same fields in the request in `exchange`.
    pub(crate) fn append(&self, exchange: &Exchange, rules: &CacheRules, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        for (name, _) in &self.0 {
            out.push(u8::from(join(exchange, rules, name, scratch)));
            out.extend_from_slice(scratch);
            out.push(0);
        }
    }

    /// Returns true if both are by the same fields.
    pub(crate) fn has_same_fields(&self, other: &Self) -> bool {
        self.0.iter().map(|(name, _)| name).eq(other.0.iter().map(|(name, _)| name))
    }

    /// Returns true if Vary names this field, given in lower case.
    pub(crate) fn includes(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| **other == *name)
    }

    /// Memory size in bytes.
    pub(crate) fn weight(&self) -> usize {
        self.0.iter().map(|(name, value)| 48 + name.len() + value.as_ref().map_or(0, |value| value.len())).sum()
    }
}

/// Writes the value of a request field as the service sees it to `out`: lines joined, white space around commas
/// removed, languages normalised. Returns whether the request has the field.
pub(crate) fn join(exchange: &Exchange, rules: &CacheRules, name: &str, out: &mut Vec<u8>) -> bool {
    join_lines_with(exchange, (&exchange.request.edits, exchange.request.user.as_deref()), rules, name, out)
}

/// Like [`join`], with the given edits and user in place of the exchange's current ones.
fn join_lines_with(
    exchange: &Exchange,
    (edits, user): (&Edits, Option<&User>),
    rules: &CacheRules,
    name: &str,
    out: &mut Vec<u8>,
) -> bool {
    out.clear();
    let id = Name::classify(name.as_bytes());
    // For known fields `_` and `-` are equivalent.
    let name = if id == Name::Other { name } else { id.as_str() };
    let mut present = false;
    let mut add = |line: &[u8]| {
        if std::mem::replace(&mut present, true) {
            out.push(b',');
        }
        for (index, element) in line.split(|byte| *byte == b',').enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(element.trim_ascii());
        }
    };
    // The identity field is written last and replaces any other value.
    if let Some(value) = user.and_then(|user| forwarding::identity_value(user, id)) {
        add(value.as_bytes());
        return present;
    }
    if !forwarding::dropped_fields(exchange).has(id) && !edits.removes(id, name.as_bytes()) {
        exchange.request.values(name).for_each(&mut add);
    }
    edits.added().filter(|(added, _)| added.eq_ignore_ascii_case(name.as_bytes())).for_each(|(_, value)| add(value));
    if name == "accept-language" {
        language::normalize(out, rules.normalize_language);
    }
    present
}
