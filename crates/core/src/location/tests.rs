use std::net::IpAddr;

use pylae_http::HeadLimits;

use super::*;
use crate::plan::{self};
use crate::request::admit::admit;
use crate::service::fixture;

const LIMITS: HeadLimits = HeadLimits { head: 32_768, target: 8192, fields: 100 };

/// How an instance is asked.
struct Case {
    /// The request's fields.
    request: &'static str,
    /// True if the client uses TLS.
    client_secure: bool,
    /// True if its peer is a trusted proxy.
    trusted: bool,
    instances: &'static [&'static str],
    /// The Host that the first of them gets.
    host: &'static str,
    stripped: &'static str,
}

/// An instance on a port that gets its client's Host, without a stripped prefix.
const PLAIN: Case = Case {
    request: "Host: shop.test:8080",
    client_secure: false,
    trusted: false,
    instances: &["http://127.0.0.1:9501", "http://127.0.0.1:9502"],
    host: "shop.test:8080",
    stripped: "",
};
const STRIPPED: Case = Case { stripped: "/api", ..PLAIN };

fn service(instances: &[&str]) -> ServiceState {
    let mut plan = fixture::plan("round_robin", &vec![1; instances.len()]);
    for (instance, url) in plan.instances.iter_mut().zip(instances) {
        instance.url = (*url).to_owned();
    }
    plan.tls = instances.iter().any(|url| url.starts_with("https")).then_some(plan::ServiceTls {
        verify: true,
        ca: None,
        server_name: None,
        certificate: None,
        min_version: plan::TlsVersion::V12,
    });
    fixture::build(&plan)
}

impl Case {
    /// Returns the exchange with a response of these fields, rewritten.
    fn answered(&self, fields: &[&str]) -> Exchange {
        let mut exchange = Exchange::new(4096);
        let version = if self.request.contains("Host:") { "1.1" } else { "1.0" };
        let head = format!("GET /api/items HTTP/{version}\r\n{}\r\n\r\n", self.request.replace('\n', "\r\n"));
        exchange.request.buffer.extend_from_slice(head.as_bytes());
        assert_eq!(exchange.request.head.parse(&exchange.request.buffer, &LIMITS), Ok(true));
        assert_eq!(admit(&mut exchange, |_: IpAddr| self.trusted, 7), Ok(()));
        exchange.request.origin.secure = self.client_secure;
        exchange.request.stripped.extend_from_slice(self.stripped.as_bytes());
        assert_eq!(forwarding::add_fields(&mut exchange, "192.0.2.1", &mut Vec::new()), Ok(()));
        let head = format!("HTTP/1.1 307 Go\r\n{}\r\n\r\n", fields.join("\r\n"));
        exchange.response.buffer.extend_from_slice(head.as_bytes());
        assert_eq!(exchange.response.head.parse(&exchange.response.buffer, &LIMITS), Ok(true));
        exchange.response.options.read(&exchange.response.head.fields, &exchange.response.buffer).unwrap();
        let service = service(self.instances);
        let instance = service.instances().next().unwrap();
        let asked = Asked::new(&exchange, &Arc::from("shop"), instance, self.host.as_bytes());
        exchange.set_asked(Some(Arc::new(asked)));
        rewrite(&mut exchange, Some(&service));
        exchange
    }

    /// Returns what the client gets for this value of `name`.
    #[track_caller]
    fn seen_by_client(&self, name: &str, said: &str) -> String {
        let exchange = self.answered(&[&format!("{name}: {said}")]);
        let seen_by_client: Vec<&[u8]> = exchange.response.values(name).collect();
        assert_eq!(seen_by_client.len(), 1, "{said}");
        String::from_utf8(seen_by_client[0].to_vec()).unwrap()
    }

    #[track_caller]
    fn check(&self, cases: &[(&str, &str)]) {
        for (said, seen_by_client) in cases {
            assert_eq!(self.seen_by_client("Location", said), *seen_by_client, "{said}");
            assert_eq!(self.seen_by_client("Content-Location", said), *seen_by_client, "{said}");
        }
    }
}

#[test]
fn what_names_an_instance_or_the_host_it_was_sent_gets_the_clients_origin() {
    PLAIN.check(&[
        ("http://127.0.0.1:9501/items/", "http://shop.test:8080/items/"),
        ("HTTP://127.0.0.1:9501/items/?a=b#c", "http://shop.test:8080/items/?a=b#c"),
        ("http://127.0.0.1:9502/", "http://shop.test:8080/"),
        ("http://127.0.0.1:9501", "http://shop.test:8080"),
        ("http://127.0.0.1:9501?a", "http://shop.test:8080?a"),
        ("http://127.0.0.1:09501/", "http://shop.test:8080/"),
        ("http://user:word@127.0.0.1:9501/", "http://shop.test:8080/"),
        ("http://evil.test@127.0.0.1:9501/", "http://shop.test:8080/"),
        ("http://SHOP.test.:8080/x", "http://shop.test:8080/x"),
        // The name in Host with the port on which the instance listens.
        ("http://shop.test:9501/x", "http://shop.test:8080/x"),
        ("//127.0.0.1:9501/x", "//shop.test:8080/x"),
        ("//shop.test:8080/x", "//shop.test:8080/x"),
    ]);
}

#[test]
fn what_leads_elsewhere_stays() {
    for case in [PLAIN, STRIPPED] {
        for said in [
            "http://127.0.0.1:9503/x",
            "http://127.0.0.1/x",
            "http://shop.test/x",
            "http://www.shop.test:8080/x",
            "http://127.0.0.1:9501@evil.test/",
            "http://127.0.0.1:9501\\@evil.test/",
            "http://127.0.0.1:9501\\.evil.test/",
            "http://127.0.0.1:9501.evil.test/",
            "http://127.0.0.1:95010/",
            "http://[::1]:9501/",
            "http:///x",
            "http:/x",
            "http:x",
            "ftp://127.0.0.1:9501/",
            "mailto:a@127.0.0.1:9501",
            "//evil.test/x",
            "//evil.test:9501/x",
            "items/",
            "./",
            "?x",
            "#y",
        ] {
            case.check(&[(said, said)]);
        }
    }
}

#[test]
fn a_path_gets_the_prefix_unless_it_has_it() {
    STRIPPED.check(&[
        ("/items/", "/api/items/"),
        ("/", "/api/"),
        ("/?a", "/api/?a"),
        ("/caf\u{e9}", "/api/caf\u{e9}"),
        ("/apix", "/api/apix"),
        ("/items/api", "/api/items/api"),
        ("/api", "/api"),
        ("/api/", "/api/"),
        ("/api?a", "/api?a"),
        ("/api#a", "/api#a"),
        ("/api;v=1/a", "/api;v=1/a"),
        ("http://127.0.0.1:9501/items/", "http://shop.test:8080/api/items/"),
        ("http://127.0.0.1:9501", "http://shop.test:8080/api/"),
        ("http://127.0.0.1:9501?a", "http://shop.test:8080/api/?a"),
        ("http://127.0.0.1:9501//evil.test", "http://shop.test:8080/api//evil.test"),
        ("http://shop.test:8080/api/items/", "http://shop.test:8080/api/items/"),
        ("//127.0.0.1:9501/items/", "//shop.test:8080/api/items/"),
    ]);
    PLAIN.check(&[("/items/", "/items/"), ("/\\evil.test", "/\\evil.test")]);
}

#[test]
fn usual_ports_may_be_said_or_not() {
    let case = Case { request: "Host: shop.test", host: "shop.test", ..PLAIN };
    case.check(&[
        ("http://shop.test/x", "http://shop.test/x"),
        ("http://shop.test:80/x", "http://shop.test/x"),
        ("http://shop.test:/x", "http://shop.test/x"),
        ("http://shop.test:443/x", "http://shop.test:443/x"),
    ]);
    let case = Case { request: "Host: shop.test:80", host: "shop.test:80", stripped: "/api", ..PLAIN };
    case.check(&[("http://shop.test/x", "http://shop.test:80/api/x")]);
    let case = Case { instances: &["http://api.internal"], host: "api.internal", stripped: "/api", ..PLAIN };
    case.check(&[
        ("http://api.internal/x", "http://shop.test:8080/api/x"),
        ("http://API.internal:80/x", "http://shop.test:8080/api/x"),
    ]);
}

#[test]
fn addresses_of_version_6_are_compared_as_addresses() {
    let case = Case { request: "Host: [::1]:8080", host: "[::1]:8080", instances: &["http://[::2]:9501"], ..PLAIN };
    case.check(&[
        ("http://[0:0::0:2]:9501/x", "http://[::1]:8080/x"),
        ("http://[0:0::1]:8080/x", "http://[::1]:8080/x"),
        ("http://[::3]:9501/x", "http://[::3]:9501/x"),
        ("http://[::2/x", "http://[::2/x"),
    ]);
}

#[test]
fn the_scheme_is_the_clients() {
    let case = Case { request: "Host: shop.test", host: "shop.test", client_secure: true, stripped: "/api", ..PLAIN };
    case.check(&[
        ("http://shop.test/x", "https://shop.test/api/x"),
        // It knows of the client's TLS.
        ("https://shop.test/x", "https://shop.test/api/x"),
        ("https://127.0.0.1:9501/x", "https://shop.test/api/x"),
        ("//shop.test/x", "//shop.test/api/x"),
        ("//shop.test:443/x", "//shop.test/api/x"),
    ]);
    let tls = Case { instances: &["https://api.internal"], host: "api.internal", ..PLAIN };
    tls.check(&[
        ("https://api.internal/x", "http://shop.test:8080/x"),
        ("https://api.internal:443/x", "http://shop.test:8080/x"),
        ("http://api.internal/x", "http://shop.test:8080/x"),
    ]);
}

#[test]
fn a_service_may_lead_clients_to_tls() {
    let case = Case { request: "Host: shop.test", host: "shop.test", stripped: "/api", ..PLAIN };
    case.check(&[
        ("https://shop.test/x", "https://shop.test/api/x"),
        ("https://shop.test:443/api/x", "https://shop.test:443/api/x"),
        // That does not reveal its own address.
        ("https://127.0.0.1:9501/x", "https://shop.test/api/x"),
    ]);
}

#[test]
fn what_a_trusted_proxy_says_is_the_clients_origin() {
    let request = "Host: gateway.internal:8080\nX-Forwarded-Proto: https\nX-Forwarded-Host: Shop.test";
    let case = Case { request, trusted: true, host: "gateway.internal:8080", stripped: "/api", ..PLAIN };
    case.check(&[
        ("http://gateway.internal:8080/x", "https://shop.test/api/x"),
        ("https://127.0.0.1:9501/x", "https://shop.test/api/x"),
    ]);
    let untrusted = Case { trusted: false, ..case };
    untrusted.check(&[("http://127.0.0.1:9501/x", "http://gateway.internal:8080/api/x")]);
    // The last value is the nearest proxy's; an invalid host is ignored.
    for (fields, seen_by_client) in [
        ("X-Forwarded-Host: evil.test, shop.test\nX-Forwarded-Proto: http, https", "https://shop.test/x"),
        ("X-Forwarded-Host: evil.test\nX-Forwarded-Host: shop.test", "http://shop.test/x"),
        ("X-Forwarded-Host: shop.test/x?\nX-Forwarded-Proto: gopher", "http://h.test/x"),
        ("X-Forwarded-Host:", "http://h.test/x"),
    ] {
        let request = format!("Host: h.test\n{fields}").leak();
        Case { request, trusted: true, host: "h.test", ..PLAIN }.check(&[("http://127.0.0.1:9501/x", seen_by_client)]);
    }
}

#[test]
fn a_prefix_that_was_stripped_before_is_known() {
    let request = "Host: shop.test\nX-Forwarded-Prefix: /outer";
    let case = Case { request, trusted: true, host: "shop.test", stripped: "/api", ..PLAIN };
    // The proxy that stripped `/outer` puts it in front.
    case.check(&[("/x", "/api/x"), ("/outer/api/x", "/outer/api/x"), ("/outer/x", "/api/outer/x")]);
}

#[test]
fn a_client_that_names_no_host_is_told_a_path() {
    let case = Case { request: "Accept: */*", host: "127.0.0.1:9501", ..PLAIN };
    case.check(&[
        ("http://127.0.0.1:9501/x", "/x"),
        ("http://127.0.0.1:9501", "/"),
        ("http://127.0.0.1:9501?x", "/?x"),
        ("//127.0.0.1:9501/x", "/x"),
        // Not another host.
        ("http://127.0.0.1:9501//evil.test/x", "/.//evil.test/x"),
        ("http://127.0.0.1:9501/\\evil.test/x", "/./\\evil.test/x"),
    ]);
    let case = Case { stripped: "/api", ..case };
    case.check(&[("http://127.0.0.1:9501//evil.test/x", "/api//evil.test/x"), ("http://127.0.0.1:9501", "/api/")]);
}

#[test]
fn refresh_has_an_address_behind_a_time() {
    for (said, seen_by_client) in [
        ("5; url=http://127.0.0.1:9501/x", "5; url=http://shop.test:8080/api/x"),
        ("0;URL='/x'", "0;URL='/api/x'"),
        ("0 ; Url = \"/x\" ", "0 ; Url = \"/api/x\""),
        ("0,url=/x y", "0,url=/api/x y"),
        ("0.5;url='/x' more", "0.5;url='/api/x' more"),
        ("5;url=\"/x", "5;url=\"/api/x"),
        ("5; /x", "5; /api/x"),
        ("5 /x", "5 /api/x"),
        ("5; '/x'", "5; '/api/x'"),
        ("5; url=/api/x", "5; url=/api/x"),
        ("5; url=http://evil.test/x", "5; url=http://evil.test/x"),
        ("5; url=x", "5; url=x"),
        ("5; url", "5; url"),
        ("5; url=", "5; url="),
        ("5;", "5;"),
        ("5", "5"),
        ("/x", "/x"),
        ("", ""),
    ] {
        assert_eq!(STRIPPED.seen_by_client("Refresh", said), seen_by_client, "{said}");
    }
}

#[test]
fn every_line_counts_and_no_other_field() {
    let exchange = STRIPPED.answered(&["Location: /a", "location: http://evil.test/", "X-Next: /a", "LOCATION: /b"]);
    let seen_by_client: Vec<&[u8]> = exchange.response.values("location").collect();
    assert_eq!(seen_by_client, [&b"/api/a"[..], b"http://evil.test/", b"/api/b"]);
    assert_eq!(exchange.response.values("x-next").collect::<Vec<_>>(), [b"/a"]);
    assert!(PLAIN.answered(&["Location: /a"]).response.edits.added().next().is_none(), "nothing changes");
}

#[test]
fn a_field_of_the_instances_connection_stays_there() {
    let exchange = STRIPPED.answered(&["Connection: Content-Location", "Content-Location: /a"]);
    assert_eq!(exchange.response.values("content-location").count(), 0);
}

#[test]
fn what_was_put_goes_with_the_answer() {
    let mut exchange = STRIPPED.answered(&["Location: /a"]);
    undo(&mut exchange);
    exchange.clear_response();
    assert_eq!(exchange.response.values("location").count(), 0);
}

/// An invalid value would be dropped.
#[test]
fn nothing_can_be_said_that_may_not_be_told() {
    let pieces: Vec<String> = [
        "http://",
        "//",
        "/",
        "127.0.0.1:9501",
        "shop.test:8080",
        "@",
        "\\",
        "\t",
        "%0d",
        "\u{ff}",
        "?",
        "#",
        "a",
        ":",
    ]
    .iter()
    .map(ToString::to_string)
    .collect();
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..20_000 {
        let said: String = (0..random.usize(1..7)).map(|_| pieces[random.usize(..pieces.len())].as_str()).collect();
        for name in ["Location", "Refresh"] {
            let said = if name == "Refresh" { format!("1; url={said}") } else { said.clone() };
            let exchange = STRIPPED.answered(&[&format!("{name}: {said}")]);
            assert_eq!(exchange.response.values(name).count(), 1, "{said:?}");
        }
    }
}
