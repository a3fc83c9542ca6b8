use std::sync::Arc;

use pylae_http::HeadLimits;

use super::*;
use crate::exchange::user::User;
use crate::plan::{LoadBalancer, Seconds, Sticky};
use crate::service::fixture::{build, plan};

fn request(fields: &str) -> Exchange {
    let mut exchange = Exchange::new(0);
    exchange.request.buffer.extend_from_slice(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes());
    let limits = HeadLimits { head: 1 << 14, target: 1 << 13, fields: 100 };
    assert_eq!(exchange.request.head.parse(&exchange.request.buffer, &limits), Ok(true));
    exchange
}

fn affinity_key(how: impl Into<LoadBalancer>, exchange: &Exchange) -> AffinityKey {
    build(&plan(how, &[1, 1])).affinity_key(exchange)
}

fn on(on: HashOn) -> LoadBalancer {
    LoadBalancer { kind: "consistent_hash".into(), on: Some(on) }
}

#[test]
fn what_is_not_asked_for_is_not_looked_at() {
    let exchange = request("Cookie: s=0123456789abcdef\r\n");
    assert_eq!(affinity_key("round_robin", &exchange), AffinityKey::default());
}

#[test]
fn hashes_are_of_what_the_plan_names() {
    let mut exchange = request("X-Tenant: blue\r\nx-tenant: red\r\nCookie: a=1; tenant=green\r\n");
    assert_eq!(affinity_key(on(HashOn::Header("x-tenant".into())), &exchange).hash, Some(hash(b"blue")));
    assert_eq!(affinity_key(on(HashOn::Cookie("tenant".into())), &exchange).hash, Some(hash(b"green")));
    assert_eq!(affinity_key(on(HashOn::User), &exchange).hash, None);
    exchange.request.user = Some(Arc::new(User { id: "ada".into(), ..User::default() }));
    assert_eq!(affinity_key(on(HashOn::User), &exchange).hash, Some(hash(b"ada")));
    exchange.request.origin.client = "::ffff:192.0.2.1".parse().unwrap();
    assert_eq!(affinity_key("ip_hash", &exchange).hash, Some(hash(&[192, 0, 2, 1])));
    assert_eq!(affinity_key(on(HashOn::Header("x-other".into())), &exchange).hash, None);
}

#[test]
fn a_sticky_cookie_is_read_as_it_was_written() {
    let sticky = Sticky { cookie: "s".into(), ttl: Some(Seconds(std::time::Duration::from_secs(90))), secret: None };
    let service = build(&plan::ServicePlan { sticky: Some(sticky), ..plan("round_robin", &[1, 1]) });
    let mut written = Vec::new();
    service.write_cookie(0x0123, true, &mut written);
    let written = String::from_utf8(written).unwrap();
    assert_eq!(written, "s=0000000000000123; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=90");
    let (pair, _) = written.split_once(';').unwrap();
    assert_eq!(service.affinity_key(&request(&format!("Cookie: {pair}\r\n"))).sticky, Some(0x0123));
    assert_eq!(service.affinity_key(&request("Cookie: s=forged\r\n")), AffinityKey::default());
}
