//! What must hold of any expression. Called by the fuzz target and by `crates/core/tests`.
#![allow(clippy::expect_used, reason = "what fails here is a finding")]

use std::sync::Arc;
use std::time::Duration;

use pylae_core::expression::{Conclusion, ExpressionMoment, ExpressionScope, ExpressionUse, MAX_KEY, RouteNames};
use pylae_core::request::admit;
use pylae_core::{Exchange, Expression, User};
use pylae_http::HeadLimits;

const REQUEST: &[u8] = b"GET /orders/7;v=1?a=1&b=%20&a=2 HTTP/1.1\r\nHost: a.example.org\r\nX-Tenant: blue\r\n\
    Accept: a/b\r\nAccept: c/d\r\nCookie: a=1; b=2\r\n\r\n";
const CLAIMS: &str = r#"{"a": "x", "b": 3, "c": true, "d": 1.5, "e": ["x", "y"], "f": {"g": [{"h": null}]}}"#;

/// `data` as an expression: told what is wrong with it, or evaluated the same each time.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let expression = Expression::new(text);
    assert_eq!(expression.text(), text);
    let exchange = exchange();
    let names = RouteNames { route: "orders", service: "shop" };
    let conclusion = Some(Conclusion { complete: true, duration: Duration::from_millis(3) });
    let scope = ExpressionScope { exchange: &exchange, names, conclusion };
    let checked = expression.check(ExpressionMoment::Over, ExpressionUse::Condition);
    if let Err(mistakes) = &checked {
        let lines = text.lines().count().max(1) + 1;
        assert!(!mistakes.is_empty());
        assert!(
            mistakes.iter().all(|one| !one.message.is_empty() && one.line <= lines && one.column > 0),
            "{mistakes:?}"
        );
    }
    let met = expression.is_met(&scope);
    assert_eq!(met, expression.is_met(&scope));
    match &met {
        Ok(met) => {
            let parts = expression.explain(&scope);
            assert_eq!(*met, parts.iter().all(|part| part.verdict == Ok(true)), "{parts:?}");
        }
        Err(failure) => assert!(!expression.tell(failure).is_empty()),
    }
    let mut key = Vec::new();
    if expression.write_key(&scope, &mut key).is_ok() {
        assert!(!key.is_empty() && key.len() <= MAX_KEY + 5);
    }
}

fn exchange() -> Exchange {
    let mut exchange = Exchange::new(0);
    exchange.request.buffer.extend_from_slice(REQUEST);
    let limits = HeadLimits { head: 1 << 14, target: 1 << 13, fields: 100 };
    exchange.request.head.parse(&exchange.request.buffer, &limits).expect("the head is sound");
    admit::admit(&mut exchange, |_| false, 1).expect("the request is sound");
    let claims = serde_json::from_str(CLAIMS).expect("the claims are an object");
    let role = "clerk,boss".to_owned();
    exchange.request.user = Some(Arc::new(User { id: "7".into(), role, claims, ..User::default() }));
    exchange
}
