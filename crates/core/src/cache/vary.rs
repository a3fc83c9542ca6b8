//! Which stored response answers which request: `Vary` (RFC 9111 section 4.1).

use pylae_http::{Name, NameSet};

use crate::Exchange;

/// Fields that the gateway itself writes into every request from things that are part of the key.
const KEYED: NameSet = NameSet::of(&[
    Name::Host,
    Name::XForwardedHost,
    Name::XForwardedProto,
    Name::XUserId,
    Name::XUserRole,
    Name::XUserEmail,
]);
/// Fields that the gateway writes and that are not: an answer that depends on one is nobody else's.
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

/// What a request said in the fields that decide which response it gets, by lower-case name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selecting(Box<[(Box<str>, Value)]>);

/// The value of a field, if there is one.
type Value = Option<Box<[u8]>>;

impl Selecting {
    /// What the request in `exchange` said in the fields that its response's Vary names. `None`: the response
    /// answers no other request.
    pub(super) fn read(exchange: &Exchange) -> Option<Self> {
        let mut names: Vec<Box<str>> = Vec::new();
        for line in exchange.response.fields.values(&exchange.response_buffer, "vary") {
            for name in line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()) {
                let known = Name::classify(name);
                let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
                if name == "*" || OWN.has(known) || names.len() == MOST_NAMES {
                    return None;
                }
                if !KEYED.has(known) && !names.iter().any(|other| **other == *name) {
                    names.push(name.into());
                }
            }
        }
        names.sort();
        let mut value = Vec::new();
        let said = names.into_iter().map(|name| {
            let present = join(exchange, &name, &mut value);
            (name, present.then(|| value.as_slice().into()))
        });
        Some(Self(said.collect()))
    }

    /// Whether the request in `exchange` says the same. `scratch` is memory that is used again.
    pub(super) fn matches(&self, exchange: &Exchange, scratch: &mut Vec<u8>) -> bool {
        self.0.iter().all(|(name, said)| {
            let present = join(exchange, name, scratch);
            match said {
                Some(value) => present && **value == **scratch,
                None => !present,
            }
        })
    }

    /// Appends what the request in `exchange` says in the same fields.
    pub(super) fn append(&self, exchange: &Exchange, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        for (name, _) in &self.0 {
            out.push(u8::from(join(exchange, name, scratch)));
            out.extend_from_slice(scratch);
            out.push(0);
        }
    }

    /// Whether Vary named this field, given in lower case.
    pub(super) fn names(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| **other == *name)
    }

    /// Bytes of memory.
    pub(super) fn weight(&self) -> usize {
        self.0.iter().map(|(name, value)| 48 + name.len() + value.as_ref().map_or(0, |value| value.len())).sum()
    }
}

/// Writes the value of a request field, as the service sees it, to `out`: lines joined, white space around commas
/// removed. Whether there is such a field.
pub(super) fn join(exchange: &Exchange, name: &str, out: &mut Vec<u8>) -> bool {
    out.clear();
    let edits = &exchange.request_edits;
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
    if !edits.removes(Name::classify(name.as_bytes()), name.as_bytes()) {
        exchange.request_values(name).for_each(&mut add);
    }
    edits.added().filter(|(added, _)| added.eq_ignore_ascii_case(name.as_bytes())).for_each(|(_, value)| add(value));
    present
}
