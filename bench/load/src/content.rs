//! What the origin answers, known to the load generator too so that it can check every byte.

/// 180 bytes, the size of a small API answer.
const JSON: &str = concat!(
    r#"{"id":123456,"name":"Ada Lovelace","email":"ada@example.org","role":"user","active":true,"#,
    r#""created":"2026-01-31T12:00:00Z","permissions":["orders:read","orders:write","users:list"]}"#,
);

/// The largest body that `/body/SIZE` gives.
const MAX_BODY: usize = 64 << 20;

/// The path that only a request which says whose it is finds.
pub(crate) const IDENTITY: &str = "/identity";

/// What must be sent to `/upload/SIZE` or `/upload/json`, so that it is answered as `/json` is.
pub(crate) fn uploaded_to(path: &str) -> Option<Vec<u8>> {
    upload(path.strip_prefix("/upload/")?)
}

/// The body of a request that sends `SIZE` bytes, or the document of `/json`.
pub(crate) fn upload(text: &str) -> Option<Vec<u8>> {
    if text == "json" {
        return Some(JSON.as_bytes().to_vec());
    }
    parse_size(text).filter(|size| *size <= MAX_BODY).map(bytes)
}

/// The body for `path`, with its content type; none if the origin has no such path.
pub(crate) fn body_for(path: &str) -> Option<(&'static str, Vec<u8>)> {
    if path == "/json" || path == IDENTITY || path.starts_with("/api/") || uploaded_to(path).is_some() {
        return Some(("application/json", JSON.as_bytes().to_vec()));
    }
    let size = parse_size(path.strip_prefix("/body/")?).filter(|size| *size <= MAX_BODY)?;
    Some(("application/octet-stream", bytes(size)))
}

fn parse_size(text: &str) -> Option<usize> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 1 << 10),
        b'm' => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

/// `size` bytes that never repeat at a distance of a buffer (xorshift), so that a lost or doubled block shows.
pub(crate) fn bytes(size: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut out = Vec::with_capacity(size + 8);
    while out.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(size);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_unknown_paths() {
        let size = |path| body_for(path).map(|(_, body)| body.len());
        assert_eq!(size("/body/64k"), Some(65_536));
        assert_eq!(size("/body/1m"), Some(1_048_576));
        assert_eq!(size("/body/7"), Some(7));
        assert_eq!(size("/json"), Some(180));
        assert_eq!(size("/body/99999m"), None);
        assert_eq!(size("/other"), None);
        assert_eq!(uploaded_to("/upload/7").map(|body| body.len()), Some(7));
        assert_eq!(uploaded_to("/upload/json"), body_for("/json").map(|(_, body)| body));
        assert_eq!(uploaded_to("/upload/xml"), None);
    }
}
