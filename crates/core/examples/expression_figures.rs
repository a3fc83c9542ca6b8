//! What expressions cost: nanoseconds for each evaluation, the fastest tenth of many rounds, and the worst that texts
//! and tokens of clients can cause. `cargo run --release -p pylae-core --example expression_figures`
#![allow(clippy::expect_used, clippy::print_stdout, reason = "it measures, and has nobody to tell of a failure")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pylae_core::expression::{ExpressionScope, RouteNames};
use pylae_core::request::admit;
use pylae_core::{Exchange, Expression, User};
use pylae_http::HeadLimits;
use serde_json::json;

const EXPRESSIONS: [&str; 9] = [
    "true",
    "request.method == 'GET'",
    "request.path.startsWith('/api/')",
    "request.headers['x-tenant'] == 'blue'",
    "user.claims.tier in ['gold', 'silver']",
    "request.method == 'GET' && user.claims.tier in ['gold', 'silver'] && user.claims.level >= 3",
    "user.claims.groups.exists(g, g == 'g9')",
    "cidr('192.0.2.0/24').containsIP(client.address)",
    "request.path.matches('^/api/[a-z]+/[0-9]+$')",
];

/// Expressions that go as far as they may, over claims as large as a head.
const WORST: [&str; 5] = [
    "user.claims.many.exists(n, user.claims.many.exists(m, n + m == -1))",
    "user.claims.many.exists(n, user.claims.text.contains('aab'))",
    "user.claims.many.exists(n, user.claims.text.matches('(a|aa|aaa|b){1,40}c'))",
    "user.claims.many.exists(n, user.claims.text.matches('(?i)[a-z]{30}[0-9é]'))",
    "user.claims.many.exists(n, size(user.claims.text + user.claims.text) == n)",
];

fn exchange() -> Exchange {
    let mut exchange = Exchange::new(0);
    let head = b"GET /api/orders/42 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\
        X-Tenant: blue\r\n\r\n";
    exchange.request.buffer.extend_from_slice(head);
    let limits = HeadLimits { head: 1 << 14, target: 1 << 13, fields: 100 };
    exchange.request.head.parse(&exchange.request.buffer, &limits).expect("the head is sound");
    exchange.request.origin.peer = ([192, 0, 2, 7], 80).into();
    admit::admit(&mut exchange, |_| false, 1).expect("the request is sound");
    let groups: Vec<_> = (0..10).map(|number| format!("g{number}")).collect();
    let many: Vec<_> = (0..5000).collect();
    let claims = json!({"tier": "silver", "level": 3, "groups": groups, "many": many, "text": "a".repeat(4000)});
    let serde_json::Value::Object(claims) = claims else { unreachable!() };
    exchange.request.user = Some(Arc::new(User { id: "7".into(), claims, ..User::default() }));
    exchange
}

/// The time of one evaluation: the fastest tenth of the rounds.
fn measure(expression: &Expression, scope: &ExpressionScope<'_>, count: u32) -> Duration {
    let mut rounds: Vec<Duration> = (0..50)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..count {
                let _ = black_box(black_box(expression).is_met(scope));
            }
            started.elapsed() / count
        })
        .collect();
    rounds.sort_unstable();
    rounds[5]
}

fn main() {
    let exchange = exchange();
    let scope = ExpressionScope { exchange: &exchange, names: RouteNames::default(), conclusion: None };
    for text in EXPRESSIONS {
        println!("{:>8?}  {text}", measure(&Expression::new(text), &scope, 10_000));
    }
    println!("the worst:");
    for text in WORST {
        let expression = Expression::new(text);
        let told = expression.is_met(&scope).map_err(|failure| expression.tell(&failure));
        println!("{:>8?}  {text} ({told:?})", measure(&expression, &scope, 2));
    }
}
