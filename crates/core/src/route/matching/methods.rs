//! Sets of methods, one bit each.

use pylae_http::Method;

/// A set of methods. All bits set: any method, known or not.
pub(crate) type Methods = u64;
/// Any method.
pub(crate) const ANY: Methods = u64::MAX;
/// Any method that no route names; only [`ANY`] contains it.
const UNNAMED: Methods = 1 << 63;
pub(crate) const GET: Methods = 1 << Method::Get as u8;
const CONNECT: Methods = 1 << Method::Connect as u8;
pub(crate) const HEAD: Methods = 1 << Method::Head as u8;

const KNOWN: [(Method, &str); 9] = [
    (Method::Get, "GET"),
    (Method::Head, "HEAD"),
    (Method::Post, "POST"),
    (Method::Put, "PUT"),
    (Method::Delete, "DELETE"),
    (Method::Patch, "PATCH"),
    (Method::Options, "OPTIONS"),
    (Method::Trace, "TRACE"),
    (Method::Connect, "CONNECT"),
];
/// First bit of methods that are not known.
const FIRST_OTHER: usize = Method::Other as usize;

/// The methods that routes name, with their bits.
pub(crate) struct MethodTable {
    other: Vec<Box<str>>,
    /// Bits and names in alphabetical order of the names.
    sorted: Vec<(Methods, Box<str>)>,
}

impl MethodTable {
    pub(crate) fn new() -> Self {
        let mut sorted: Vec<_> = KNOWN.iter().map(|(m, name)| (1 << *m as u8, Box::from(*name))).collect();
        sorted.sort_by(|a: &(_, Box<str>), b| a.1.cmp(&b.1));
        Self { other: Vec::new(), sorted }
    }

    /// Returns the bit of a method that a route names.
    pub(crate) fn add(&mut self, name: &str) -> Result<Methods, String> {
        if let Some((bit, _)) = self.sorted.iter().find(|(_, known)| **known == *name) {
            return Ok(*bit);
        }
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)) {
            return Err(format!("`{name}` is not a method"));
        }
        let upper = name.to_ascii_uppercase();
        if KNOWN.iter().any(|(_, known)| *known == upper) {
            return Err(format!("write `{upper}`: methods are compared exactly"));
        }
        let at = FIRST_OTHER + self.other.len();
        if at >= 63 {
            return Err("too many different methods of your own; leave `methods` out to take all".into());
        }
        self.other.push(name.into());
        self.sorted.push((1 << at, name.into()));
        self.sorted.sort_by(|a, b| a.1.cmp(&b.1));
        Ok(1 << at)
    }

    /// Returns the bit of a request's method.
    pub(crate) fn bit(&self, method: Method, token: &[u8]) -> Methods {
        if method != Method::Other {
            return 1 << method as u8;
        }
        self.other.iter().position(|o| o.as_bytes() == token).map_or(UNNAMED, |i| 1 << (FIRST_OTHER + i))
    }

    /// Writes `set` to `out` as the value of `Allow`. CONNECT is refused before routing.
    pub(crate) fn write(&self, mut set: Methods, out: &mut String) {
        if set & GET != 0 {
            set |= HEAD;
        }
        out.clear();
        for (bit, name) in &self.sorted {
            if set & bit != 0 && *bit != CONNECT {
                if !out.is_empty() {
                    out.push_str(", ");
                }
                out.push_str(name);
            }
        }
    }
}
