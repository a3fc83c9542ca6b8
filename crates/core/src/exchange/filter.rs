//! Which exchanges somebody wants to see.

use serde::Deserialize;

use super::Exchange;

/// What an exchange must have; None allows anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangeFilter {
    /// Name of its route.
    pub route: Option<String>,
    /// Its method.
    pub method: Option<String>,
    /// Its path, or the beginning of it, followed by `*`.
    pub path: Option<String>,
    /// Its status, or the class of it: `5xx`.
    pub status: Option<String>,
    /// Request fields, each with its value, or None if any value will do.
    pub headers: Vec<(String, Option<String>)>,
}

impl ExchangeFilter {
    /// Whether the head of the request has what is wanted.
    pub fn fits_request(&self, exchange: &Exchange) -> bool {
        let request = &exchange.request;
        let method = request.head.method_span.of(&request.buffer);
        let path = request.asked_path();
        self.method.as_ref().is_none_or(|wanted| wanted.as_bytes() == method)
            && self.path.as_ref().is_none_or(|wanted| match wanted.strip_suffix('*') {
                Some(start) => path.starts_with(start.as_bytes()),
                None => wanted.as_bytes() == path,
            })
            && self.headers.iter().all(|(name, wanted)| {
                let mut values = request.values(name);
                wanted.as_ref().map_or_else(
                    || request.values(name).next().is_some(),
                    |wanted| values.any(|value| value == wanted.as_bytes()),
                )
            })
    }

    /// Whether an exchange that is over has what is wanted, besides its request.
    pub fn fits_end(&self, route: Option<&str>, status: u16) -> bool {
        self.route.as_ref().is_none_or(|wanted| route == Some(wanted))
            && self.status.as_ref().is_none_or(|wanted| match wanted.strip_suffix("xx") {
                Some(class) => class.parse() == Ok(status / 100),
                None => wanted.parse() == Ok(status),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(head: &[u8]) -> Exchange {
        let mut exchange = Exchange::default();
        exchange.request.buffer.extend_from_slice(head);
        let limits = pylae_http::HeadLimits { head: 1000, target: 100, fields: 10 };
        assert_eq!(exchange.request.head.parse(&exchange.request.buffer, &limits), Ok(true));
        exchange.request.target.path = b"/orders/7".to_vec();
        exchange
    }

    #[test]
    fn a_request_fits_if_all_that_is_wanted_is_there() {
        let exchange = exchange(b"GET /orders/7 HTTP/1.1\r\nHost: a\r\nX-Tenant: blue\r\nX-Tenant: red\r\n\r\n");
        let fits = |filter: &str| serde_json::from_str::<ExchangeFilter>(filter).unwrap().fits_request(&exchange);
        assert!(fits(r#"{"headers": []}"#));
        for (fields, expected) in [
            (r#""method": "GET""#, true),
            (r#""method": "POST""#, false),
            (r#""path": "/orders/7""#, true),
            (r#""path": "/orders""#, false),
            (r#""path": "/orders/*""#, true),
            (r#""path": "/users/*""#, false),
        ] {
            assert_eq!(fits(&format!(r#"{{"headers": [], {fields}}}"#)), expected, "{fields}");
        }
        for (headers, expected) in [
            (r#"[["x-tenant", null]]"#, true),
            (r#"[["x-tenant", "red"]]"#, true),
            (r#"[["x-tenant", "green"]]"#, false),
            (r#"[["x-other", null]]"#, false),
        ] {
            assert_eq!(fits(&format!(r#"{{"headers": {headers}}}"#)), expected, "{headers}");
        }
    }

    #[test]
    fn its_end_has_a_route_and_a_status() {
        let filter = |status: Option<&str>, route: Option<&str>| ExchangeFilter {
            status: status.map(Into::into),
            route: route.map(Into::into),
            ..ExchangeFilter::default()
        };
        assert!(filter(None, None).fits_end(None, 404));
        assert!(filter(Some("404"), None).fits_end(None, 404));
        assert!(filter(Some("4xx"), None).fits_end(None, 429));
        assert!(!filter(Some("5xx"), None).fits_end(None, 429));
        assert!(filter(None, Some("orders")).fits_end(Some("orders"), 200));
        assert!(!filter(None, Some("orders")).fits_end(None, 200));
    }
}
