//! Which stored response answers which request: `Vary` (RFC 9111 section 4.1).

use std::sync::Arc;

use pylae_http::{Edits, Name, NameSet};

use crate::Exchange;
use crate::cache::rules::CacheRules;
use crate::cache::selection::language;
use crate::exchange::user::User;
use crate::request::forwarding;

/// Fields that the gateway itself writes into every request from things that are part of every key.
const KEYED: NameSet = NameSet::of(&[Name::Host, Name::XForwardedHost, Name::XForwardedProto]);
/// The same where no hook can have said otherwise.
const KEYED_WITHOUT_HOOKS: NameSet = KEYED.with(NameSet::of(&[Name::XForwardedPrefix]));
/// Fields that the gateway writes and that are not, and those that name one request: an answer that depends on one is nobody else's.
const OWN: NameSet = NameSet::of(&[
    Name::Forwarded,
    Name::Traceparent,
    Name::Tracestate,
    Name::XForwardedFor,
    Name::XForwardedPort,
    Name::XRealIp,
    Name::XRequestId,
]);
/// Fields that Vary may name.
const MOST_NAMES: usize = 16;

/// Whether a request field may be part of a key, by its name in lower case. What is another in each request would make every key
/// another one.
pub fn is_key(name: &str) -> bool {
    name != "*" && !OWN.has(Name::classify(name.as_bytes()))
}

/// What a request said in the fields that decide which response it gets, by lower-case name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selecting(Box<[(Box<str>, Value)]>);

/// The value of a field, if there is one.
type Value = Option<Box<[u8]>>;

/// What the cache knew of a request when it looked for its answer. What hooks make of the request later is not in any key.
#[derive(Debug)]
pub(crate) struct RequestFacts {
    edits: Edits,
    user: Option<Arc<User>>,
}

impl RequestFacts {
    pub(crate) fn of(exchange: &Exchange) -> Self {
        Self { edits: exchange.request.edits.clone(), user: exchange.request.user.clone() }
    }

    /// Whether the answer is kept for one user alone.
    pub(crate) fn is_keyed_by_user(&self, per_user: bool) -> bool {
        per_user && self.user.is_some()
    }
}

impl Selecting {
    /// What the request in `exchange`, of which the cache knew so much, said in the fields that its response's Vary names.
    /// `None`: the response answers no other request.
    pub(crate) fn read(exchange: &Exchange, known: &RequestFacts, rules: &CacheRules) -> Option<Self> {
        let keyed = if exchange.hooks().is_some() { KEYED } else { KEYED_WITHOUT_HOOKS };
        let keyed = if known.is_keyed_by_user(rules.per_user) { keyed.with(forwarding::IDENTITY) } else { keyed };
        let mut names: Vec<Box<str>> = Vec::new();
        for line in exchange.response.head.fields.values(&exchange.response.buffer, "vary") {
            for name in line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()) {
                let id = Name::classify(name);
                let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
                if name == "*" || OWN.has(id) || names.len() == MOST_NAMES {
                    return None;
                }
                if !keyed.has(id) && !names.iter().any(|other| **other == *name) {
                    names.push(name.into());
                }
            }
        }
        names.sort();
        let (mut value, mut sent) = (Vec::new(), Vec::new());
        let said = names.into_iter().map(|name| {
            let present = join_known(exchange, (&known.edits, known.user.as_deref()), rules, &name, &mut value);
            let forwarded = join(exchange, rules, &name, &mut sent);
            // What a hook put there instead is not seen when the next request comes. That hooks which read bodies want them
            // plain is the same for all.
            let same = (present, &value) == (forwarded, &sent) || *name == *"accept-encoding";
            same.then(|| (name, present.then(|| value.as_slice().into())))
        });
        said.collect::<Option<_>>().map(Self)
    }

    /// Whether the request in `exchange` says the same. `scratch` is memory that is used again.
    pub(crate) fn matches(&self, exchange: &Exchange, rules: &CacheRules, scratch: &mut Vec<u8>) -> bool {
        self.0.iter().all(|(name, said)| {
            let present = join(exchange, rules, name, scratch);
            match said {
                Some(value) => present && **value == **scratch,
                None => !present,
            }
        })
    }

    /// Appends what the request in `exchange` says in the same fields.
    pub(crate) fn append(&self, exchange: &Exchange, rules: &CacheRules, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        for (name, _) in &self.0 {
            out.push(u8::from(join(exchange, rules, name, scratch)));
            out.extend_from_slice(scratch);
            out.push(0);
        }
    }

    /// Whether both are by the same fields.
    pub(crate) fn is_by_same(&self, other: &Self) -> bool {
        self.0.iter().map(|(name, _)| name).eq(other.0.iter().map(|(name, _)| name))
    }

    /// Whether Vary named this field, given in lower case.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| **other == *name)
    }

    /// Bytes of memory.
    pub(crate) fn weight(&self) -> usize {
        self.0.iter().map(|(name, value)| 48 + name.len() + value.as_ref().map_or(0, |value| value.len())).sum()
    }
}

/// Writes the value of a request field, as the service sees it, to `out`: lines joined, white space around commas
/// removed, languages as they are compared. Whether there is such a field.
pub(crate) fn join(exchange: &Exchange, rules: &CacheRules, name: &str, out: &mut Vec<u8>) -> bool {
    join_known(exchange, (&exchange.request.edits, exchange.request.user.as_deref()), rules, name, out)
}

/// The same with other edits and another user than the exchange has by now.
fn join_known(
    exchange: &Exchange,
    (edits, user): (&Edits, Option<&User>),
    rules: &CacheRules,
    name: &str,
    out: &mut Vec<u8>,
) -> bool {
    out.clear();
    let id = Name::classify(name.as_bytes());
    // `_` and `-` are one name where it is a known one.
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
    // Written last, over whatever else there is.
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
