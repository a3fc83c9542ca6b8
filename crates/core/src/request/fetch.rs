//! What browsers say of their requests (Fetch Metadata, and `Origin` of the Fetch standard). Pages cannot set these
//! fields, so they tell a user's own doing from that of another site.

use pylae_http::{Method, Name};

use crate::exchange::Exchange;
use crate::location;

const SITE: &str = "sec-fetch-site";
const MODE: &str = "sec-fetch-mode";

/// Returns true if a browser asks for a page to show: such a request can be answered by sending it elsewhere to log in.
/// Browsers that do not say what they want it for, as over plain http, are known by `Accept`.
pub fn is_navigation(exchange: &Exchange) -> bool {
    let request = &exchange.request;
    if !matches!(request.head.method, Method::Get | Method::Head) || request.upgrades {
        return false;
    }
    let mut modes = request.values(MODE);
    if let Some(mode) = modes.next() {
        return mode == b"navigate" && modes.next().is_none();
    }
    if request.values(SITE).next().is_some() || request.values("sec-fetch-dest").next().is_some() {
        return false;
    }
    request.values("accept").any(accepts_pages) && request.values("x-requested-with").next().is_none()
}

fn accepts_pages(line: &[u8]) -> bool {
    let mut ranges = line.split(|byte| *byte == b',');
    ranges.any(|range| {
        let kind = range.split(|byte| *byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"text/html")
    })
}

/// Returns true if the request changes something, or opens a connection in the user's name: a page of another site must
/// not be able to send it with the user's cookies.
#[inline]
pub fn needs_own_site(exchange: &Exchange) -> bool {
    let safe = matches!(exchange.request.head.method, Method::Get | Method::Head | Method::Options | Method::Trace);
    !safe || exchange.request.upgrades
}

/// Returns true if nothing says that the request comes from a page of the gateway itself, from the user, or from a page
/// that the route's CORS policy lets send cookies. `origin` is the gateway's own; None for that of the request.
pub fn is_cross_site(exchange: &Exchange, origin: Option<&str>) -> bool {
    let request = &exchange.request;
    if request.origin_trusted {
        return false;
    }
    let mut sites = request.values(SITE);
    if let Some(site) = sites.next() {
        return !matches!(site, b"same-origin" | b"none") || sites.next().is_some();
    }
    let fields = &request.head.fields;
    let Some(from) = fields.get(&request.buffer, Name::Origin).filter(|_| fields.count(Name::Origin) == 1) else {
        return true;
    };
    match origin {
        Some(own) => own.as_bytes() != from,
        None => !location::is_own_origin(exchange, from),
    }
}

#[cfg(test)]
mod tests {
    use pylae_http::HeadLimits;

    use super::*;

    fn request(method: &str, fields: &[&str]) -> Exchange {
        let mut exchange = Exchange::new(0);
        let lines = [&["Host: shop.example"], fields, &["", ""]].concat().join("\r\n");
        exchange.request.buffer = format!("{method} / HTTP/1.1\r\n{lines}").into_bytes();
        let limits = HeadLimits { head: 1 << 14, target: 1 << 13, fields: 100 };
        assert_eq!(exchange.request.head.parse(&exchange.request.buffer, &limits), Ok(true));
        exchange.request.host = b"shop.example".to_vec();
        exchange.request.host_len = exchange.request.host.len();
        exchange
    }

    #[test]
    fn what_is_a_navigation() {
        let page = "Accept: text/html,application/xhtml+xml;q=0.9";
        for (method, fields, expected) in [
            ("GET", &[page][..], true),
            ("HEAD", &[page], true),
            ("GET", &["accept: application/json", "Accept: */*;q=0.1, Text/HTML ;q=0.9"], true),
            ("GET", &["Sec-Fetch-Mode: navigate"], true),
            ("GET", &["Sec-Fetch-Mode: cors", page], false),
            ("GET", &["Sec-Fetch-Mode: navigate", "Sec-Fetch-Mode: cors"], false),
            ("GET", &["Sec-Fetch-Site: same-origin", page], false),
            ("GET", &["Sec-Fetch-Dest: image", page], false),
            ("GET", &[page, "X-Requested-With: XMLHttpRequest"], false),
            ("GET", &["Accept: application/json"], false),
            ("GET", &["Accept: text/htmlx"], false),
            ("GET", &["Accept: */*"], false),
            ("GET", &[], false),
            ("POST", &[page, "Sec-Fetch-Mode: navigate"], false),
            ("OPTIONS", &[page], false),
        ] {
            assert_eq!(is_navigation(&request(method, fields)), expected, "{method} {fields:?}");
        }
        let mut handshake = request("GET", &["Sec-Fetch-Mode: navigate"]);
        handshake.request.upgrades = true;
        assert!(!is_navigation(&handshake));
    }

    #[test]
    fn what_must_come_from_the_own_site() {
        for (method, expected) in [
            ("GET", false),
            ("HEAD", false),
            ("OPTIONS", false),
            ("TRACE", false),
            ("POST", true),
            ("PUT", true),
            ("DELETE", true),
            ("PATCH", true),
            ("PURGE", true),
            ("get", true),
        ] {
            assert_eq!(needs_own_site(&request(method, &[])), expected, "{method}");
        }
        let mut handshake = request("GET", &[]);
        handshake.request.upgrades = true;
        assert!(needs_own_site(&handshake));
    }

    #[test]
    fn what_comes_from_another_site() {
        let own = "Origin: http://shop.example";
        for (fields, expected) in [
            (&["Sec-Fetch-Site: same-origin"][..], false),
            (&["Sec-Fetch-Site: none"], false),
            (&["Sec-Fetch-Site: same-site", own], true),
            (&["Sec-Fetch-Site: cross-site", own], true),
            (&["Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"], true),
            (&["Sec-Fetch-Site: Same-Origin"], true),
            (&["Sec-Fetch-Site: "], true),
            (&[own], false),
            (&["Origin: http://shop.example:80"], false),
            (&["Origin: https://shop.example"], true),
            (&["Origin: http://shop.example:8080"], true),
            (&["Origin: http://shop.example.evil.example"], true),
            (&["Origin: http://evil.example"], true),
            (&["Origin: http://shop.example/"], true),
            (&["Origin: http://ada@shop.example"], true),
            (&["Origin: null"], true),
            (&["Origin: "], true),
            (&[own, own], true),
            (&[own, "Origin: http://evil.example"], true),
            (&["Referer: http://shop.example/cart"], true),
            (&[], true),
        ] {
            assert_eq!(is_cross_site(&request("POST", fields), None), expected, "{fields:?}");
        }
        let given = Some("https://shop.example");
        assert!(!is_cross_site(&request("POST", &["Origin: https://shop.example"]), given));
        assert!(is_cross_site(&request("POST", &[own]), given));
        let mut allowed = request("POST", &["Sec-Fetch-Site: cross-site", "Origin: https://app.example"]);
        allowed.request.origin_trusted = true;
        assert!(!is_cross_site(&allowed, None));
    }
}
