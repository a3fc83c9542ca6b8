//! The field names that the gateway itself uses, recognised once while the head is parsed.

use crate::perfect_hash::{self, slot};

macro_rules! names {
    ($($variant:ident $spelling:literal,)*) => {
        /// A known field name, or `Other`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
        #[repr(u8)]
        pub enum Name {
            /// Any name not listed here.
            #[default]
            Other,
            $(#[doc = concat!("`", $spelling, "`")] $variant,)*
        }

        /// All known names, by discriminant.
        const NAMES: &[Name] = &[Name::Other, $(Name::$variant),*];
        /// Their usual spellings.
        const SPELLINGS: &[&str] = &["", $($spelling),*];
    };
}

names! {
    Accept "Accept",
    AcceptEncoding "Accept-Encoding",
    AccessControlRequestHeaders "Access-Control-Request-Headers",
    AccessControlRequestMethod "Access-Control-Request-Method",
    Age "Age",
    Authorization "Authorization",
    CacheControl "Cache-Control",
    Connection "Connection",
    ContentEncoding "Content-Encoding",
    ContentLength "Content-Length",
    ContentLocation "Content-Location",
    ContentRange "Content-Range",
    ContentType "Content-Type",
    Cookie "Cookie",
    Date "Date",
    Dpop "DPoP",
    Etag "ETag",
    Expect "Expect",
    Expires "Expires",
    Forwarded "Forwarded",
    Host "Host",
    IfMatch "If-Match",
    IfModifiedSince "If-Modified-Since",
    IfNoneMatch "If-None-Match",
    IfRange "If-Range",
    IfUnmodifiedSince "If-Unmodified-Since",
    KeepAlive "Keep-Alive",
    LastModified "Last-Modified",
    Location "Location",
    Origin "Origin",
    Pragma "Pragma",
    Proxy "Proxy",
    ProxyAuthenticate "Proxy-Authenticate",
    ProxyAuthorization "Proxy-Authorization",
    ProxyConnection "Proxy-Connection",
    Range "Range",
    Refresh "Refresh",
    RetryAfter "Retry-After",
    Server "Server",
    SetCookie "Set-Cookie",
    Te "TE",
    Traceparent "traceparent",
    Tracestate "tracestate",
    Trailer "Trailer",
    TransferEncoding "Transfer-Encoding",
    Upgrade "Upgrade",
    UserAgent "User-Agent",
    Vary "Vary",
    Via "Via",
    Warning "Warning",
    WwwAuthenticate "WWW-Authenticate",
    XApiKey "X-API-Key",
    XForwardedFor "X-Forwarded-For",
    XForwardedHost "X-Forwarded-Host",
    XForwardedPort "X-Forwarded-Port",
    XForwardedPrefix "X-Forwarded-Prefix",
    XForwardedProto "X-Forwarded-Proto",
    XPylaeTrace "X-Pylae-Trace",
    XRealIp "X-Real-IP",
    XRequestId "X-Request-ID",
    XUserEmail "X-User-Email",
    XUserId "X-User-ID",
    XUserRole "X-User-Role",
    SecWebsocketKey "Sec-WebSocket-Key",
    SecWebsocketVersion "Sec-WebSocket-Version",
    SecWebsocketAccept "Sec-WebSocket-Accept",
    SecWebsocketProtocol "Sec-WebSocket-Protocol",
    SecWebsocketExtensions "Sec-WebSocket-Extensions",
    Http2Settings "HTTP2-Settings",
    AccessControlAllowOrigin "Access-Control-Allow-Origin",
}

impl Name {
    /// How many there are, `Other` included.
    pub(crate) const COUNT: usize = COUNT;

    /// Returns the name that `bytes` spells, ignoring case and treating `_` as `-` (see
    /// [`Field::underscore`](crate::Field::underscore)).
    #[inline]
    pub fn classify(bytes: &[u8]) -> Self {
        Self::recognise(bytes, 0, bytes.len()).0
    }

    /// Like [`classify`](Self::classify), for the compiler, and without `_`.
    pub(crate) const fn of_spelling(spelling: &str) -> Self {
        let mut i = 1;
        while i < COUNT {
            if SPELLINGS[i].eq_ignore_ascii_case(spelling) {
                return NAMES[i];
            }
            i += 1;
        }
        Self::Other
    }

    /// Returns the name in `buf` from `start` to `end`, and whether it is a known one spelt with `_`.
    #[inline]
    pub(crate) fn recognise(buf: &[u8], start: usize, end: usize) -> (Self, bool) {
        let bytes = &buf[start..end];
        if bytes.is_empty() || bytes.len() > LONGEST {
            return (Self::Other, false);
        }
        let index = SLOTS[slot(key(bytes), MULTIPLIER, BITS)] as usize;
        let known = &KNOWN[index];
        if bytes.len() != known.len as usize {
            return (Self::Other, false);
        }
        let mut copy = [0; 32];
        // The bytes after the name do not count, so nearly always it can be compared in place.
        let padded = buf[start..].first_chunk::<32>().unwrap_or_else(|| {
            copy[..bytes.len()].copy_from_slice(bytes);
            &copy
        });
        if known.spells(padded) {
            (NAMES[index], false)
        } else if equal(SPELLINGS[index].as_bytes(), bytes) {
            (NAMES[index], true)
        } else {
            (Self::Other, false)
        }
    }

    /// Returns the usual spelling, e.g. `X-Request-ID`, or an empty text for `Other`.
    #[inline]
    pub fn as_str(self) -> &'static str {
        SPELLINGS[self as usize]
    }
}

/// A set of known names, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct NameSet(u128);
impl NameSet {
    /// The empty set.
    pub const EMPTY: Self = Self(0);
    /// Creates the set of these names.
    pub const fn of(names: &[Name]) -> Self {
        let mut set = Self::EMPTY;
        let mut i = 0;
        while i < names.len() {
            set.add(names[i]);
            i += 1;
        }
        set
    }

    /// Returns true if `name` is in the set. `Other` never is.
    #[inline]
    pub const fn has(self, name: Name) -> bool {
        self.0 >> name as u8 & 1 != 0
    }

    /// Adds `name`; `Other` is ignored.
    #[inline]
    pub const fn add(&mut self, name: Name) {
        // `Other` is bit 0, which is never set.
        self.0 |= (1 << name as u8) & !1;
    }

    /// Returns the names in the set.
    pub fn names(self) -> impl Iterator<Item = Name> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let name = NAMES.get(left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(*name)
        })
    }

    /// Returns true if any name is in both sets.
    #[inline]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Returns the union of both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Returns true if two names are equal, ignoring case and treating `_` as `-`, as CGI-like interfaces of instances do.
pub(crate) fn equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(&a, &b)| fold(a) == fold(b))
}

/// Returns true if `name` starts with `prefix`, in the sense of `equal`.
pub fn starts_with(name: &[u8], prefix: &[u8]) -> bool {
    name.len() >= prefix.len() && equal(&name[..prefix.len()], prefix)
}

#[inline]
const fn fold(byte: u8) -> u8 {
    FOLDED[byte as usize]
}

const FOLDED: [u8; 256] = folded();

const fn folded() -> [u8; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = if i as u8 == b'_' { b'-' } else { (i as u8).to_ascii_lowercase() };
        i += 1;
    }
    table
}

const COUNT: usize = NAMES.len();
const LONGEST: usize = 31;
const BITS: u32 = 9;
/// Makes `slot` free of collisions over the known names. The compiler computes it, so that a new name needs only its
/// line in the table.
const MULTIPLIER: u32 = perfect_hash::multiplier(&KEYS, BITS);
const KEYS: [u32; COUNT] = keys();
/// Index into `NAMES` by `slot`; 0 if there is none.
static SLOTS: [u8; 1 << BITS] = slots();
static KNOWN: [Spelling; COUNT] = known();

#[inline]
const fn key(bytes: &[u8]) -> u32 {
    let len = bytes.len();
    u32::from_le_bytes([fold(bytes[0]), fold(bytes[len / 2]), fold(bytes[len * 3 / 4]), len as u8])
}

const fn slots() -> [u8; 1 << BITS] {
    let mut table = [0; 1 << BITS];
    let mut i = 1;
    while i < COUNT {
        let at = slot(KEYS[i], MULTIPLIER, BITS);
        assert!(table[at] == 0, "two names have the same key");
        table[at] = i as u8;
        i += 1;
    }
    table
}

const fn keys() -> [u32; COUNT] {
    let mut keys = [0; COUNT];
    let mut i = 1;
    while i < COUNT {
        keys[i] = key(SPELLINGS[i].as_bytes());
        i += 1;
    }
    keys
}

/// A spelling as two words, and masks of the significant bits: without those after its end and the case bits of
/// letters.
#[derive(Clone, Copy)]
struct Spelling {
    len: u8,
    words: [u128; 2],
    counting: [u128; 2],
}

impl Spelling {
    /// Returns true if `padded` starts with this name spelt with `-`, ignoring case. Free of branches.
    #[inline]
    fn spells(&self, padded: &[u8; 32]) -> bool {
        let [first, second] = words(padded);
        ((first ^ self.words[0]) & self.counting[0]) | ((second ^ self.words[1]) & self.counting[1]) == 0
    }
}

#[inline]
const fn words(bytes: &[u8; 32]) -> [u128; 2] {
    let (chunks, _) = bytes.as_chunks::<16>();
    [u128::from_le_bytes(chunks[0]), u128::from_le_bytes(chunks[1])]
}

const fn known() -> [Spelling; COUNT] {
    let mut table = [Spelling { len: 0, words: [0; 2], counting: [0; 2] }; COUNT];
    let mut i = 1;
    while i < COUNT {
        let bytes = SPELLINGS[i].as_bytes();
        assert!(bytes.len() <= LONGEST && i < 128, "a name too long, or too many for a NameSet");
        let mut spelling = [0; 32];
        let mut counting = [0; 32];
        let mut at = 0;
        while at < bytes.len() {
            spelling[at] = bytes[at];
            counting[at] = if bytes[at].is_ascii_alphabetic() { !0x20 } else { 0xFF };
            at += 1;
        }
        table[i] = Spelling { len: bytes.len() as u8, words: words(&spelling), counting: words(&counting) };
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_recognised_in_any_case_and_with_underscores() {
        for (&name, spelling) in NAMES.iter().zip(SPELLINGS).skip(1) {
            assert_eq!(name.as_str(), *spelling);
            for variant in [
                (*spelling).to_owned(),
                spelling.to_lowercase(),
                spelling.to_uppercase(),
                spelling.replace('-', "_"),
                spelling.to_uppercase().replacen('-', "_", 1),
            ] {
                assert_eq!(Name::classify(variant.as_bytes()), name, "{variant}");
            }
        }
    }

    #[test]
    fn a_name_with_any_byte_changed_is_another() {
        for (&name, spelling) in NAMES.iter().zip(SPELLINGS).skip(1) {
            for place in 0..spelling.len() {
                for byte in 0..=255_u8 {
                    let mut bytes = spelling.as_bytes().to_vec();
                    bytes[place] = byte;
                    assert_eq!(Name::classify(&bytes) == name, equal(&bytes, spelling.as_bytes()), "{bytes:?}");
                }
            }
            assert_eq!(Name::classify(format!("{spelling}s").as_bytes()), Name::Other);
        }
        assert_eq!(Name::classify(b""), Name::Other);
        assert_eq!(Name::classify(&[b'a'; 300]), Name::Other);
    }

    #[test]
    fn sets_hold_names_and_never_other() {
        let mut set = NameSet::of(&[Name::Host, Name::AccessControlAllowOrigin]);
        set.add(Name::Other);
        assert!(set.has(Name::Host) && set.has(Name::AccessControlAllowOrigin));
        assert_eq!(set.names().collect::<Vec<_>>(), [Name::Host, Name::AccessControlAllowOrigin]);
        assert_eq!(NameSet::of(NAMES).names().collect::<Vec<_>>(), NAMES[1..]);
        assert_eq!(NameSet::EMPTY.names().next(), None);
        assert!(!set.has(Name::Other) && !set.has(Name::Via));
        assert!(set.with(NameSet::of(&[Name::Via])).has(Name::Via));
        assert!(set.intersects(NameSet::of(&[Name::Via, Name::Host])) && !set.intersects(NameSet::of(&[Name::Via])));
    }
}
