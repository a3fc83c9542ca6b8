//! Cookies of a request (RFC 6265 section 5.4).

use crate::exchange::Exchange;

/// Returns the names and values in one line of Cookie. Quotes around a value are not part of it; what has no `=` is a
/// value without a name.
pub fn pairs(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = line.split(|&byte| byte == b';').map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = match pair.iter().position(|&byte| byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (&pair[..0], pair),
        };
        (name, value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
    })
}

/// Returns all cookies of the request; HTTP/2 may send several lines.
pub fn all(exchange: &Exchange) -> impl Iterator<Item = (&[u8], &[u8])> {
    exchange.request.values("cookie").flat_map(pairs)
}

/// Returns the value of the first cookie called `name`.
pub fn first<'e>(exchange: &'e Exchange, name: &[u8]) -> Option<&'e [u8]> {
    all(exchange).find_map(|(sent, value)| (sent == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use pylae_http::HeadLimits;

    use super::*;

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let mut exchange = Exchange::new(0);
        let head = b"GET / HTTP/1.1\r\nCookie: as=1;s1=2 ;  s=\"3\"; s=4\r\nCookie: t=5; u; e=; q=a=b\r\n\r\n";
        exchange.request.buffer.extend_from_slice(head);
        let limits = HeadLimits { head: 1 << 14, target: 1 << 13, fields: 100 };
        assert_eq!(exchange.request.head.parse(&exchange.request.buffer, &limits), Ok(true));
        let find = |name: &str| first(&exchange, name.as_bytes()).map(|value| std::str::from_utf8(value).unwrap());
        assert_eq!((find("s"), find("s1"), find("as"), find("t")), (Some("3"), Some("2"), Some("1"), Some("5")));
        assert_eq!((find("u"), find("S"), find("e"), find("q")), (None, None, Some(""), Some("a=b")));
        assert_eq!(all(&exchange).count(), 8);
    }
}
