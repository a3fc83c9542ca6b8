//! The cache key: everything about a request that may change its response without the origin saying so.

use pylae_http::Name;

use crate::Exchange;
use crate::cache::rules::CacheRules;
use crate::cache::selection::vary::join;

/// Fields by which some services let a request override its address or method. Responses to requests with such a field
/// are not stored, because the key does not cover them.
const OVERRIDES: &[&str] = &[
    "x-forwarded-path",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-url",
    "x-rewrite-url",
    "x-url-scheme",
    "front-end-https",
];

/// Returns true if the request in `exchange` has a field that may change its response and is not part of the key.
pub(crate) fn overrides(exchange: &Exchange) -> bool {
    let buf = &exchange.request.buffer[..];
    exchange.request.head.fields.iter().any(|field| {
        let name = field.name.of(buf);
        // Services that read fields like CGI treat `_` as `-`.
        let same = |known: &&str| {
            known.len() == name.len()
                && known.bytes().zip(name).all(|(a, b)| a == if *b == b'_' { b'-' } else { b.to_ascii_lowercase() })
        };
        field.id == Name::Other && OVERRIDES.iter().any(same)
    })
}

/// Writes the key of the request in `exchange`: host, path, query, scheme, route, the member of its split, the
/// configured fields, user. Only the user, the last part, may contain a zero byte.
pub(crate) fn write(rules: &CacheRules, exchange: &Exchange, key: &mut Vec<u8>, scratch: &mut Vec<u8>) {
    key.clear();
    address(&exchange.request.host, &exchange.request.target.path, key);
    if let Some(query) = exchange.request.query() {
        key.push(b'?');
        key.extend_from_slice(query);
    }
    key.push(0);
    key.push(if exchange.request.origin.secure { b's' } else { b'p' });
    if exchange.request.origin.peer_trusted {
        for name in ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix"] {
            join(exchange, rules, name, scratch);
            key.extend_from_slice(scratch);
            key.push(0);
        }
    }
    key.extend_from_slice(rules.route.as_bytes());
    key.push(0);
    if let Some(member) = exchange.member() {
        // Fields begin with another letter.
        key.push(b'/');
        key.extend_from_slice(member.cache_key());
        key.push(0);
    }
    for name in &rules.vary {
        key.push(if join(exchange, rules, name, scratch) { b'=' } else { b'-' });
        key.extend_from_slice(scratch);
        key.push(0);
    }
    if let Some(user) = exchange.request.user.as_ref().filter(|_| rules.per_user) {
        // Permissions too: a delegated token may allow less than its user may do.
        let permissions = user.permissions.iter().map(String::as_str);
        for part in [user.via, &user.role, &user.email, &user.id].into_iter().chain(permissions) {
            key.extend_from_slice(itoa::Buffer::new().format(part.len()).as_bytes());
            key.push(b':');
            key.extend_from_slice(part.as_bytes());
        }
    }
}

/// Writes the start of every key for a path.
pub(crate) fn address(host: &[u8], path: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(host);
    out.push(0);
    out.extend_from_slice(path);
    out.push(0);
}

/// Splits a key into host, path and query (with `?`, or empty).
pub(crate) fn read(key: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let mut parts = key.splitn(4, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    (part(), part(), part())
}
