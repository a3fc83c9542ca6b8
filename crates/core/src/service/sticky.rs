//! Sticky sessions: the cookie that keeps a client on one instance of a service, or on one member of a split. It holds
//! an opaque id: a hash that reveals no address and, with a secret, cannot be guessed.

use std::io::Write;

use aws_lc_rs::hmac;

use crate::exchange::Exchange;
use crate::plan;
use crate::request::cookie;

/// Returns the id of `one` among those that `group` names, an instance of a service for example: the first eight bytes
/// of HMAC-SHA-256 keyed by `secret`, different for every group. Cookies contain it, so it must be the same in every
/// gateway, after every restart and in every version.
pub(crate) fn id(secret: &str, group: &str, one: &str) -> u64 {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
    for part in [group, one] {
        // The length separates the parts; `usize` would differ between platforms.
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part.as_bytes());
    }
    let tag = context.sign();
    tag.as_ref().iter().take(8).fold(0, |id, &byte| (id << 8) | u64::from(byte))
}

/// Returns the cookie value for `id`: sixteen hexadecimal digits.
pub fn format(id: u64) -> [u8; 16] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|place| DIGITS[(id >> (60 - 4 * place)) as usize & 15])
}

/// Parses a cookie value; returns None if the gateway did not make it.
pub fn parse(value: &[u8]) -> Option<u64> {
    if value.len() != 16 {
        return None;
    }
    value.iter().try_fold(0, |id, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some((id << 4) | u64::from(digit))
    })
}

/// The cookie that holds an id.
#[derive(Debug)]
pub(crate) struct StickyCookie {
    name: Box<[u8]>,
    max_age: Option<u64>,
}

impl StickyCookie {
    pub(crate) fn from_plan(plan: &plan::Sticky) -> Self {
        Self { name: plan.cookie.as_bytes().into(), max_age: plan.ttl.map(|ttl| ttl.0.as_secs().max(1)) }
    }

    /// Name of the cookie.
    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Returns the id in the request's cookie.
    #[inline]
    pub(crate) fn read(&self, exchange: &Exchange) -> Option<u64> {
        parse(cookie::first(exchange, &self.name)?)
    }

    /// Appends the value of a Set-Cookie with this id. Scripts and other sites cannot read it; `secure` keeps it off
    /// unencrypted connections.
    pub(crate) fn write(&self, id: u64, secure: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.name);
        out.push(b'=');
        out.extend_from_slice(&format(id));
        out.extend_from_slice(b"; Path=/; HttpOnly; SameSite=Lax");
        if secure {
            out.extend_from_slice(b"; Secure");
        }
        if let Some(seconds) = self.max_age {
            // Writing to a Vec cannot fail.
            let _ = write!(out, "; Max-Age={seconds}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookie_values_come_back() {
        for id in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert_eq!(parse(&format(id)), Some(id));
        }
        assert_eq!(&format(0x0123_4567_89ab_cdef), b"0123456789abcdef");
    }

    #[test]
    fn foreign_values_are_refused() {
        for value in ["", "0", "0123456789abcdeF", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeg"] {
            assert_eq!(parse(value.as_bytes()), None, "{value}");
        }
    }

    /// From another implementation:
    /// `hmac.digest(secret, len(service).to_bytes(8, "little") + service + ..., "sha256")[:8].hex()`.
    #[test]
    fn ids_are_what_cookies_out_there_hold() {
        assert_eq!(id("", "shop", "10.0.0.1:8000"), 0x8174_c0aa_941b_ecd0);
        assert_eq!(id("secret", "shop", "https://one.test"), 0xc650_5c50_bc24_3fb6);
    }

    #[test]
    fn ids_depend_on_everything() {
        let ids = [id("", "s", "a"), id("k", "s", "a"), id("", "t", "a"), id("", "s", "b"), id("", "sa", "")];
        for (at, one) in ids.iter().enumerate() {
            assert!(!ids[at + 1..].contains(one));
        }
    }
}
