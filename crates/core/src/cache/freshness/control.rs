//! `Cache-Control` (RFC 9111 section 5.2, RFC 5861), read from its field lines.

use pylae_http::{Fields, Name};

/// A delta-seconds that is larger than what we count means "for ever" (RFC 9111 section 1.2.2).
const MOST: u32 = 1 << 31;

/// Longest directive that we know.
const LONGEST: usize = 24;

/// What a client asks of caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestControl {
    /// Nothing without validation.
    pub no_cache: bool,
    /// Keep nothing of the answer.
    pub no_store: bool,
    /// Do not ask the origin.
    pub only_if_cached: bool,
    /// Nothing older than this, in seconds.
    pub max_age: Option<u32>,
    /// Fresh for at least so many seconds more.
    pub min_fresh: Option<u32>,
    /// Stale by at most so many seconds is good enough.
    pub max_stale: Option<u32>,
}

/// What an origin allows caches to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // directives are independent flags
pub struct ResponseControl {
    /// Keep nothing.
    pub no_store: bool,
    /// Nothing without validation.
    pub no_cache: bool,
    /// For one user only.
    pub private: bool,
    /// For all, even where the request was authorised.
    pub public: bool,
    /// Never stale.
    pub must_revalidate: bool,
    /// The same for shared caches.
    pub proxy_revalidate: bool,
    /// Only for caches that know what the status means; they ignore `no_store`.
    pub must_understand: bool,
    /// Seconds of freshness.
    pub max_age: Option<u32>,
    /// The same for shared caches.
    pub s_maxage: Option<u32>,
    /// Seconds behind freshness in which a stale answer may be given while it is revalidated.
    pub stale_while_revalidate: Option<u32>,
    /// The same when the origin fails.
    pub stale_if_error: Option<u32>,
}

impl RequestControl {
    /// Reads a request's fields. Without Cache-Control, `Pragma: no-cache` counts (section 5.4).
    pub fn read(fields: &Fields, buf: &[u8]) -> Self {
        let mut found = Self::default();
        if !fields.has(Name::CacheControl) {
            if fields.has(Name::Pragma) {
                found.no_cache = fields
                    .values(buf, "pragma")
                    .flat_map(Directives)
                    .any(|one| one.name.eq_ignore_ascii_case(b"no-cache"));
            }
            return found;
        }
        for one in fields.values(buf, "cache-control").flat_map(Directives) {
            match one.lower(&mut [0; LONGEST]) {
                b"no-cache" => found.no_cache = true,
                b"no-store" => found.no_store = true,
                b"only-if-cached" => found.only_if_cached = true,
                b"max-age" => first(&mut found.max_age, one.seconds()),
                b"min-fresh" => first(&mut found.min_fresh, one.seconds()),
                b"max-stale" if one.value.is_none() => first(&mut found.max_stale, Some(MOST)),
                b"max-stale" => first(&mut found.max_stale, one.seconds()),
                _ => {}
            }
        }
        found
    }
}

impl ResponseControl {
    /// Reads a response's fields. Unknown directives are ignored. A time that is not one counts as 0: the answer is
    /// stale (section 4.2.1).
    pub fn read(fields: &Fields, buf: &[u8]) -> Self {
        let mut found = Self::default();
        for one in fields.values(buf, "cache-control").flat_map(Directives) {
            let seconds = Some(one.seconds().unwrap_or(0));
            match one.lower(&mut [0; LONGEST]) {
                b"no-store" => found.no_store = true,
                // With field names these speak of parts of the answer; taking them for the whole is allowed.
                b"no-cache" => found.no_cache = true,
                b"private" => found.private = true,
                b"public" => found.public = true,
                b"must-revalidate" => found.must_revalidate = true,
                b"proxy-revalidate" => found.proxy_revalidate = true,
                b"must-understand" => found.must_understand = true,
                b"max-age" => first(&mut found.max_age, seconds),
                b"s-maxage" => first(&mut found.s_maxage, seconds),
                b"stale-while-revalidate" => first(&mut found.stale_while_revalidate, seconds),
                b"stale-if-error" => first(&mut found.stale_if_error, seconds),
                _ => {}
            }
        }
        found
    }

    /// Whether a stale answer must not be given without validation (sections 5.2.2.2, 5.2.2.8 and 5.2.2.10).
    pub fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.s_maxage.is_some() || self.no_cache
    }
}

/// The first of several counts (section 4.2.1).
fn first(place: &mut Option<u32>, seconds: Option<u32>) {
    *place = place.or(seconds);
}

/// One directive.
struct Directive<'a> {
    name: &'a [u8],
    value: Option<&'a [u8]>,
}

impl Directive<'_> {
    /// The name in lower case; empty if it is longer than any we know.
    fn lower<'b>(&self, memory: &'b mut [u8; LONGEST]) -> &'b [u8] {
        let Some(place) = memory.get_mut(..self.name.len()) else { return &[] };
        place.copy_from_slice(self.name);
        place.make_ascii_lowercase();
        place
    }

    /// The value as delta-seconds, with or without quotes; none if it is not one.
    fn seconds(&self) -> Option<u32> {
        let value = self.value?;
        let digits = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
        seconds(digits)
    }
}

/// Delta-seconds (section 1.2.2).
pub(crate) fn seconds(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u32, digit: &u8| sum.saturating_mul(10).saturating_add(u32::from(digit - b'0'));
    Some(digits.iter().fold(0, add).min(MOST))
}

/// The directives of one line. Commas in quotes do not separate.
struct Directives<'a>(&'a [u8]);

impl<'a> Iterator for Directives<'a> {
    type Item = Directive<'a>;

    fn next(&mut self) -> Option<Directive<'a>> {
        while !self.0.is_empty() {
            let end = element_end(self.0);
            let element = self.0[..end].trim_ascii();
            self.0 = self.0.get(end + 1..).unwrap_or_default();
            if element.is_empty() {
                continue;
            }
            let (name, value) = match element.iter().position(|byte| *byte == b'=') {
                Some(at) => (element[..at].trim_ascii_end(), Some(element[at + 1..].trim_ascii_start())),
                None => (element, None),
            };
            return Some(Directive { name, value });
        }
        None
    }
}

/// Where the first element of a list ends.
fn element_end(list: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in list.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    list.len()
}
