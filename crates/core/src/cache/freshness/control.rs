//! `Cache-Control` (RFC 9111 section 5.2, RFC 5861), read from its field lines.

use pylae_http::{Fields, Name};

/// Cap of delta-seconds; larger values mean "for ever" (RFC 9111 section 1.2.2).
const MOST: u32 = 1 << 31;

/// Length of the longest known directive.
const LONGEST: usize = 24;

/// Cache-Control of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestControl {
    /// Do not use a stored response without validation.
    pub no_cache: bool,
    /// Do not store the response.
    pub no_store: bool,
    /// Do not forward the request.
    pub only_if_cached: bool,
    /// Highest acceptable age, in seconds.
    pub max_age: Option<u32>,
    /// Seconds that the response must stay fresh.
    pub min_fresh: Option<u32>,
    /// Seconds by which the response may be stale.
    pub max_stale: Option<u32>,
}

/// Cache-Control of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // directives are independent flags
pub struct ResponseControl {
    /// Do not store the response.
    pub no_store: bool,
    /// Do not use a stored response without validation.
    pub no_cache: bool,
    /// The response is for one user only.
    pub private: bool,
    /// The response may be shared, even if the request was authorised.
    pub public: bool,
    /// Do not serve it stale.
    pub must_revalidate: bool,
    /// Like `must_revalidate`, for shared caches.
    pub proxy_revalidate: bool,
    /// Store it only if the status is understood; then `no_store` is ignored.
    pub must_understand: bool,
    /// Freshness lifetime in seconds.
    pub max_age: Option<u32>,
    /// Like `max_age`, for shared caches.
    pub s_maxage: Option<u32>,
    /// Seconds after expiry in which a stale response may be served while it is revalidated.
    pub stale_while_revalidate: Option<u32>,
    /// Seconds after expiry in which a stale response may be served if the origin fails.
    pub stale_if_error: Option<u32>,
}

impl RequestControl {
    /// Reads the fields of a request. Without Cache-Control, `Pragma: no-cache` counts (section 5.4).
    pub fn read(fields: &Fields, buf: &[u8]) -> Self {
        let mut found = Self::default();
        if !fields.has(Name::CacheControl) {
            if fields.has(Name::Pragma) {
                found.no_cache = fields
                    .values(buf, "pragma")
                    .flat_map(Directives)
                    .any(|directive| directive.name.eq_ignore_ascii_case(b"no-cache"));
            }
            return found;
        }
        for directive in fields.values(buf, "cache-control").flat_map(Directives) {
            match directive.lower_name(&mut [0; LONGEST]) {
                b"no-cache" => found.no_cache = true,
                b"no-store" => found.no_store = true,
                b"only-if-cached" => found.only_if_cached = true,
                b"max-age" => first(&mut found.max_age, directive.seconds()),
                b"min-fresh" => first(&mut found.min_fresh, directive.seconds()),
                b"max-stale" if directive.value.is_none() => first(&mut found.max_stale, Some(MOST)),
                b"max-stale" => first(&mut found.max_stale, directive.seconds()),
                _ => {}
            }
        }
        found
    }
}

impl ResponseControl {
    /// Reads the fields of a response. Unknown directives are ignored. An invalid time counts as 0, which makes the
    /// response stale (section 4.2.1).
    pub fn read(fields: &Fields, buf: &[u8]) -> Self {
        let mut found = Self::default();
        for directive in fields.values(buf, "cache-control").flat_map(Directives) {
            let seconds = Some(directive.seconds().unwrap_or(0));
            match directive.lower_name(&mut [0; LONGEST]) {
                b"no-store" => found.no_store = true,
                // With field names, these directives concern only those fields; applying them to the whole response is
                // allowed.
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

    /// Returns true if a stale response must not be served without validation (sections 5.2.2.2, 5.2.2.8 and 5.2.2.10).
    pub fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.s_maxage.is_some() || self.no_cache
    }
}

/// The first of several values counts (section 4.2.1).
fn first(place: &mut Option<u32>, seconds: Option<u32>) {
    *place = place.or(seconds);
}

/// A directive.
struct Directive<'a> {
    name: &'a [u8],
    value: Option<&'a [u8]>,
}

impl Directive<'_> {
    /// The name in lower case, or empty if it is longer than any known directive.
    fn lower_name<'b>(&self, memory: &'b mut [u8; LONGEST]) -> &'b [u8] {
        let Some(place) = memory.get_mut(..self.name.len()) else { return &[] };
        place.copy_from_slice(self.name);
        place.make_ascii_lowercase();
        place
    }

    /// The value as delta-seconds, with or without quotes.
    fn seconds(&self) -> Option<u32> {
        let value = self.value?;
        let digits = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
        seconds(digits)
    }
}

/// Parses delta-seconds (section 1.2.2).
pub(crate) fn seconds(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u32, digit: &u8| sum.saturating_mul(10).saturating_add(u32::from(digit - b'0'));
    Some(digits.iter().fold(0, add).min(MOST))
}

/// The directives of one line. Commas within quotes do not separate.
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

/// Returns where the first element of a list ends.
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
