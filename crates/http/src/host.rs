//! The authority a request is for: grammar of Host and of absolute-form authorities (RFC 9110 section 7.2, RFC 3986 section 3.2).

/// `host` as sent is not a valid `uri-host [":" port]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostError(pub &'static str);

/// Checks `authority` and writes its canonical form to `out` (cleared first): host in lower case, no trailing dot, IPv6 in brackets,
/// the port kept when it is 1–65535 and neither empty nor absent. Returns the length of the host part without the port.
pub fn canonical(_authority: &[u8], _out: &mut Vec<u8>) -> Result<usize, HostError> {
    todo!()
}
