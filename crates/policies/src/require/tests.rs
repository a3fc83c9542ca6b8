use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::PolicyShared;
use crate::authentication::Authenticators;

fn build(config: Value) -> Result<Require, Vec<Problem>> {
    let shared = Arc::new(PolicyShared::new(1));
    let auth = Authenticators::default();
    let parts = Parts { route: "orders", service: "shop", params: &[], shared: &shared, auth: &auth };
    Require::build(serde_json::from_value(config).unwrap(), &parts)
}

fn exchange(claims: Option<Value>) -> Exchange {
    let mut exchange = Exchange::new(0);
    exchange.request.user = claims.map(|claims| {
        let Value::Object(claims) = claims else { unreachable!() };
        Arc::new(User { id: "7".into(), claims, ..User::default() })
    });
    exchange
}

/// The status, and what is told to the operator.
fn decide(policy: &Require, claims: Option<Value>) -> (u16, String) {
    let mut asked = exchange(claims);
    let previewed = policy.preview(&asked);
    let status = match policy.on_request(&mut asked) {
        Verdict::Continue => 200,
        Verdict::Reject(rejection) => {
            assert!(previewed.starts_with(&rejection.status.to_string()), "{previewed}");
            assert_eq!(rejection.headers.is_empty(), rejection.status == 403);
            rejection.status
        }
        _ => 0,
    };
    let failed = asked.failures().map(|(_, told)| told.to_owned()).next();
    (status, failed.unwrap_or(previewed))
}

fn claim(test: Value, claims: Value) -> u16 {
    let test = match test {
        Value::Object(test) => {
            let mut full = json!({"any": [], "all": [], "present": null});
            full.as_object_mut().unwrap().extend(test);
            full
        }
        list => json!({"any": list, "all": [], "present": null}),
    };
    decide(&build(json!({"claims": {"a.b": test}, "expression": null})).unwrap(), Some(claims)).0
}

#[test]
fn a_claim_is_one_of_the_wanted_values() {
    for (test, claims, status) in [
        (json!(["x"]), json!({"a": {"b": "x"}}), 200),
        (json!(["y", "x"]), json!({"a": {"b": "x"}}), 200),
        (json!(["x"]), json!({"a.b": "x"}), 200),
        (json!(["x"]), json!({"a": {"b": ["y", "x"]}}), 200),
        (json!(["x"]), json!({"a": {"b": "X"}}), 403),
        (json!(["x"]), json!({"a": {"b": "x y"}}), 403),
        (json!(["x"]), json!({"a": {"b": ["y"]}}), 403),
        (json!(["x"]), json!({"a": {"b": [["x"]]}}), 403),
        (json!(["x"]), json!({"a": "x"}), 403),
        (json!(["x"]), json!({}), 403),
        (json!(["x"]), json!({"a": {"b": null}}), 403),
        (json!(["x"]), json!({"a": {"b": {"x": 1}}}), 403),
        (json!([1]), json!({"a": {"b": 1}}), 200),
        (json!([1]), json!({"a": {"b": 1.0}}), 200),
        (json!([1]), json!({"a": {"b": "1"}}), 403),
        (json!([1]), json!({"a": {"b": true}}), 403),
        (json!([true]), json!({"a": {"b": true}}), 200),
        (json!([true]), json!({"a": {"b": "true"}}), 403),
        (json!([9_007_199_254_740_993_i64]), json!({"a": {"b": 9_007_199_254_740_992_i64}}), 403),
        (json!({"all": ["x", "y"]}), json!({"a": {"b": ["z", "y", "x"]}}), 200),
        (json!({"all": ["x", "y"]}), json!({"a": {"b": ["x"]}}), 403),
        (json!({"present": true}), json!({"a": {"b": false}}), 200),
        (json!({"present": true}), json!({"a": {"b": null}}), 403),
        (json!({"present": false}), json!({"a": {"b": 1}}), 403),
        (json!({"present": false}), json!({"a": {}}), 200),
    ] {
        assert_eq!(claim(test.clone(), claims.clone()), status, "{test} {claims}");
    }
}

#[test]
fn the_words_of_scope_count_one_by_one() {
    let of = |wanted: &str| {
        let test = json!({"any": [], "all": ["read", wanted], "present": null});
        build(json!({"claims": {"scope": test}, "expression": null})).unwrap()
    };
    let scope = |text: &str| Some(json!({"scope": text}));
    assert_eq!(decide(&of("write"), scope("write read more")).0, 200);
    assert_eq!(decide(&of("write"), scope("read writes")).0, 403);
    assert_eq!(decide(&of("write"), Some(json!({"scope": ["read", "write"]}))).0, 200);
}

#[test]
fn without_a_user_claims_ask_for_one() {
    let test = json!({"any": ["x"], "all": [], "present": null});
    let policy = build(json!({"claims": {"a": test}, "expression": null})).unwrap();
    assert_eq!(decide(&policy, None), (401, "401: there is no user".into()));
    let expression = build(json!({"claims": {}, "expression": "user.known"})).unwrap();
    assert_eq!(decide(&expression, None), (403, "403: `user.known` is false".into()));
}

#[test]
fn an_expression_that_cannot_be_told_refuses() {
    let text = "route.name == 'orders' && service.name == 'shop' && user.claims.tier == 'gold'";
    let policy = build(json!({"claims": {}, "expression": text})).unwrap();
    assert_eq!(decide(&policy, Some(json!({"tier": "gold"}))).0, 200);
    assert_eq!(
        decide(&policy, Some(json!({"tier": "tin"}))),
        (403, "403: `user.claims.tier == 'gold'` is false".into())
    );
    let (status, told) = decide(&policy, Some(json!({})));
    assert_eq!(status, 403);
    assert!(told.starts_with("it is absent; ask `has(…)` first (line 1, column 53"), "{told}");
    // Not even what would be met by anything else.
    let negative = build(json!({"claims": {}, "expression": "user.claims.tier != 'tin'"})).unwrap();
    assert_eq!(decide(&negative, Some(json!({}))).0, 403);
    assert_eq!(decide(&negative, None).0, 403);
}

#[test]
fn mistakes_are_all_told() {
    let told = |config: Value| build(config).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(told(json!({"claims": {}, "expression": null})), [": needs `claims` or an `expression`"]);
    let empty = json!({"any": [], "all": [], "present": null});
    let found = told(json!({"claims": {"a": empty}, "expression": "usr.id == response.status"}));
    assert_eq!(found[0], "claims.a: must ask for something");
    assert!(found[1].starts_with("expression: there is no variable `usr`; did you mean `user`?"), "{found:?}");
    let later = told(json!({"claims": {}, "expression": "response.status == 200"}));
    assert!(later[0].starts_with("expression: `response.status` is not known before"), "{later:?}");
}
