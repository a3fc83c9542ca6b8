//! Checks the literal paths and hosts of routes: they may contain only what a canonical request can, since anything
//! else would never match.

use std::fmt::Write;

use pylae_http::{Method, Target};

/// Largest number of segments of a template or prefix, which limits the depth of the search.
pub(crate) const MAX_SEGMENTS: usize = 128;

/// Checks the literal path of a match; the error says what is wrong and what to write.
pub(crate) fn check(path: &str) -> Result<(), String> {
    if path.contains(';') {
        return Err("`;…` never matches: parameters of segments are left out of the path before routing".into());
    }
    check_sent(path)
}

/// Checks a literal path that instances are sent; its segments may have parameters.
pub(crate) fn check_sent(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err(format!("`{path}` does not start with `/`"));
    }
    for (i, c) in path.char_indices() {
        match c {
            '?' | '#' => return Err(format!("`{c}` is not part of a path; match the query with `query`")),
            '%' => check_escape(&path[i..])?,
            '\\' => return Err("`\\` never occurs in a path: such requests are refused".into()),
            // Bytes that a canonical path contains unescaped: unreserved ones, sub-delimiters, `:`, `@` and `/`.
            _ if !c.is_ascii_alphanumeric() && !"-._~!$&'()*+,;=:@/".contains(c) => {
                let mut escaped = String::new();
                for byte in c.to_string().bytes() {
                    let _ = write!(escaped, "%{byte:02X}");
                }
                return Err(format!(
                    "write `{}` as `{escaped}`: paths are compared percent-encoded",
                    c.escape_default()
                ));
            }
            _ => {}
        }
    }
    if path.contains("//") {
        return Err("`//` never matches: runs of `/` are merged before routing".into());
    }
    if path.split('/').any(|s| s == "." || s == "..") {
        return Err("`.` and `..` segments never match: they are resolved before routing".into());
    }
    // The remaining rules need more than one character.
    let mut target = Target::default();
    target.read(path.as_bytes(), Method::Get).map_err(|e| format!("never matches: such requests are refused ({})", e.0))
}

fn check_escape(text: &str) -> Result<(), String> {
    let hex = text.get(1..3).unwrap_or("");
    let Ok(byte) = u8::from_str_radix(hex, 16) else {
        return Err("`%` is not followed by two hexadecimal digits; write a literal `%` as `%25`".into());
    };
    if hex.bytes().any(|b| b.is_ascii_lowercase()) {
        return Err(format!("write `%{}`: escapes are in upper case before routing", hex.to_ascii_uppercase()));
    }
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        return Err(format!("write `%{hex}` as `{}`: it is decoded before routing", char::from(byte)));
    }
    if byte == b'/' {
        return Err("`%2F` cannot be in a literal path; with `encoded_slash: keep` a parameter can contain it".into());
    }
    if b"\\\0".contains(&byte) {
        return Err(format!("`%{hex}` never occurs in a path: such requests are refused"));
    }
    Ok(())
}

/// Checks a host without a leading `*.`.
pub(crate) fn check_host(host: &str) -> Result<(), String> {
    if host.is_empty() {
        return Err("the host is empty; leave `hosts` out to take all".into());
    }
    if host.contains('*') {
        return Err("`*` is allowed only in place of the first labels: `*.example.org`".into());
    }
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(format!("write `{}`: hosts are compared in lower case", host.to_ascii_lowercase()));
    }
    if !host.is_ascii() {
        return Err("write the host in its ASCII form (`xn--…`)".into());
    }
    if host.starts_with('[') {
        return if host.ends_with(']') {
            Ok(())
        } else {
            Err("a port or text after `]`; write hosts without port".into())
        };
    }
    if host.contains(':') {
        return Err("write hosts without port, and an IPv6 address in brackets".into());
    }
    if host.bytes().any(|b| !b.is_ascii_graphic() || b"/?#@\\".contains(&b)) {
        return Err(format!("`{host}` is not a host name"));
    }
    if host.starts_with('.') || host.ends_with('.') {
        return Err("a host has no dot at its start or end".into());
    }
    Ok(())
}

/// Checks a prefix: a literal path of limited depth.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), String> {
    let count = prefix.split('/').count();
    if count > MAX_SEGMENTS {
        return Err(format!("{count} segments, {MAX_SEGMENTS} are allowed"));
    }
    check(prefix)
}
