//! The token in `X-Pylae-Trace`, which asks the gateway to trace one request.
//!
//! `1.EXPIRES.ID.TAG`: seconds since 1970, 16 random bytes and HMAC-SHA-256 over what is before it (RFC 2104), all in
//! lower-case hexadecimal but the first two. The key never leaves the process that has made it.

use std::fmt::Write as _;
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;

/// How long a token may be good, in seconds.
pub const LONGEST: u64 = 300;
/// Bytes of the longest text that can be a token.
const MOST: usize = 128;

/// Makes tokens, and knows them again.
pub struct TraceKey(hmac::Key);

/// A token that is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceToken {
    /// Its id, which is that of the trace.
    pub id: u128,
    /// When it is no longer good, in seconds since 1970.
    pub expires: u64,
}

/// Why a token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTraceToken {
    /// It is none, or made with another key.
    Forged,
    /// It is too old.
    Stale,
    /// It was used before.
    Used,
}

impl BadTraceToken {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Forged, Self::Stale, Self::Used];

    /// As metrics and the log have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forged => "forged",
            Self::Stale => "stale",
            Self::Used => "used",
        }
    }
}

impl TraceKey {
    /// Makes a random key. Returns None if the system has no random numbers.
    pub fn generate() -> Option<Self> {
        hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok().map(Self)
    }

    /// Returns the text of a token.
    pub fn issue(&self, token: TraceToken) -> String {
        let mut text = format!("1.{}.{:032x}", token.expires, token.id);
        let tag = hmac::sign(&self.0, text.as_bytes());
        text.push('.');
        for byte in tag.as_ref() {
            // A `String` takes everything.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// Reads a token. Takes as long for each wrong tag. `wall` is the time since 1970.
    pub fn verify(&self, text: &[u8], wall: Duration) -> Result<TraceToken, BadTraceToken> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= MOST).ok_or(BadTraceToken::Forged)?;
        let (signed, tag) = text.rsplit_once('.').ok_or(BadTraceToken::Forged)?;
        let tag = bytes(tag).ok_or(BadTraceToken::Forged)?;
        hmac::verify(&self.0, signed.as_bytes(), &tag).map_err(|_| BadTraceToken::Forged)?;
        let mut parts = signed.split('.').skip(1);
        let expires = parts.next().and_then(|text| text.parse().ok()).ok_or(BadTraceToken::Forged)?;
        let id = parts.next().and_then(|text| u128::from_str_radix(text, 16).ok()).ok_or(BadTraceToken::Forged)?;
        if expires <= wall.as_secs() || expires > wall.as_secs() + LONGEST {
            return Err(BadTraceToken::Stale);
        }
        Ok(TraceToken { id, expires })
    }
}

/// Reads lower-case hexadecimal digits.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    if rest.is_empty() { bytes.collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000_000);

    fn token(expires: u64) -> TraceToken {
        TraceToken { id: 0xAB, expires }
    }

    #[test]
    fn a_token_is_good_until_it_expires_and_for_its_key_alone() {
        let (key, other) = (TraceKey::generate().unwrap(), TraceKey::generate().unwrap());
        let text = key.issue(token(1_000_060));
        assert_eq!(key.verify(text.as_bytes(), NOW), Ok(token(1_000_060)));
        assert_eq!(other.verify(text.as_bytes(), NOW), Err(BadTraceToken::Forged));
        assert_eq!(key.verify(text.as_bytes(), NOW + Duration::from_secs(60)), Err(BadTraceToken::Stale));
        let lasting = key.issue(token(1_000_301));
        assert_eq!(key.verify(lasting.as_bytes(), NOW), Err(BadTraceToken::Stale), "nobody makes such ones");
    }

    #[test]
    fn whatever_is_changed_makes_it_another() {
        let key = TraceKey::generate().unwrap();
        let text = key.issue(token(1_000_060));
        for place in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[place] ^= 1;
            assert_eq!(key.verify(&changed, NOW), Err(BadTraceToken::Forged), "{place}");
            assert_eq!(key.verify(&text.as_bytes()[..place], NOW), Err(BadTraceToken::Forged), "{place}");
        }
        for odd in [&b""[..], b".", b"1.2.3", b"\xFF", &[b'a'; 4000], text.to_uppercase().as_bytes()] {
            assert_eq!(key.verify(odd, NOW), Err(BadTraceToken::Forged));
        }
    }
}
