use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use pylae_http::HeadLimits;
use serde_json::json;

use super::*;
use crate::request::admit;
use crate::{Exchange, User};

mod oracle;

const LIMITS: HeadLimits = HeadLimits { head: 1 << 16, target: 1 << 13, fields: 100 };

fn exchange(head: &str) -> Exchange {
    let mut exchange = Exchange::new(0);
    exchange.request.buffer.extend_from_slice(format!("{head}\r\n").as_bytes());
    assert_eq!(exchange.request.head.parse(&exchange.request.buffer, &LIMITS), Ok(true));
    exchange.request.origin.peer = ([192, 0, 2, 7], 80).into();
    admit::admit(&mut exchange, |_| false, 1).unwrap();
    exchange.times.wall = Duration::from_secs(1_700_000_000);
    exchange
}

fn with_user(head: &str, claims: serde_json::Value) -> Exchange {
    let mut exchange = exchange(head);
    let serde_json::Value::Object(claims) = claims else { unreachable!() };
    exchange.request.user = Some(Arc::new(User {
        id: "7".into(),
        email: "ann@example.org".into(),
        role: "clerk,boss".into(),
        permissions: vec!["orders:read".into(), "orders:write".into()],
        claims,
        via: "jwt",
    }));
    exchange
}

fn scope(exchange: &Exchange) -> ExpressionScope<'_> {
    ExpressionScope { exchange, names: RouteNames { route: "orders", service: "shop" }, conclusion: None }
}

/// `true`, `false`, or why it cannot be told.
fn ask(exchange: &Exchange, text: &str) -> String {
    let expression = Expression::new(text);
    if let Err(mistakes) = expression.check(ExpressionMoment::Over, ExpressionUse::Condition) {
        panic!("{text}: {mistakes:?}");
    }
    match expression.is_met(&scope(exchange)) {
        Ok(met) => met.to_string(),
        Err(failure) => expression.tell(&failure),
    }
}

fn mistakes(text: &str) -> Vec<String> {
    let found = Expression::new(text).check(ExpressionMoment::Over, ExpressionUse::Condition);
    found.err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

const HEAD: &str = "POST //shop/./a;v=1/%7Eb?tag=x&tag=y&q=a+b%21&e= HTTP/1.1\r\nHost: Shop.Example:8080\r\n\
                    X-Tenant: blue\r\nAccept: a/b\r\nAccept: c/d\r\nX-User-ID: 1\r\nX-Forwarded-For: 10.0.0.1\r\n\
                    Cookie: a=1; b=\"2\"; a=3\r\n";

#[test]
fn requests_are_seen_as_policies_see_them() {
    let asked = with_user(HEAD, json!({}));
    for met in [
        "request.method == 'POST'",
        "request.scheme == \"http\"",
        "request.host == 'shop.example'",
        "request.path == '/shop/a/~b'",
        "request.headers['x-tenant'] == 'blue' && request.headers['X-TENANT'] == 'blue'",
        "request.headers.host == 'Shop.Example:8080'",
        "has(request.headers.accept) && 'accept' in request.headers && !('x' in request.headers)",
        "request.headers.values('accept') == ['a/b', 'c/d'] && request.headers.values('none') == []",
        "request.query.q == 'a b!' && request.query['e'] == '' && request.query.values('tag').size() == 2",
        "request.cookies.b == '2' && request.cookies.values('a').exists(v, v == '3')",
        "client.address == '192.0.2.7' && cidr('192.0.2.0/24').containsIP(client.address)",
        "!cidr('10.0.0.0/8').containsIP('192.0.2.7') && cidr('::/0').containsIP('2001:db8::1')",
        "request.time == 1700000000",
        "route.name == 'orders' && service.name == 'shop' && request.id != ''",
        "user.known && user.id == '7' && user.email.endsWith('@example.org') && user.via == 'jwt'",
        "user.role == 'clerk,boss' && 'boss' in user.roles && user.roles.size() == 2",
        "'orders:read' in user.permissions && user.permissions.all(p, p.startsWith('orders:'))",
        // No client can say these of itself.
        "!has(request.headers['x-user-id']) && !('x-forwarded-for' in request.headers)",
        "request.headers.values('x-user-id').size() == 0",
    ]
    .map(|text| text.replace("!has(request.headers['x-user-id'])", "!('X_User_Id' in request.headers)"))
    {
        assert_eq!(ask(&asked, &met), "true", "{met}");
    }
}

#[test]
fn what_has_no_one_value_cannot_be_told() {
    let asked = with_user(HEAD, json!({"tier": "gold", "level": 3}));
    for (text, why) in [
        ("request.headers.accept == 'a/b'", "it was sent more than once, so it has no one value (line 1, column 1"),
        ("request.query['tag'] == 'x'", "it was sent more than once"),
        ("request.cookies.a == '1'", "it was sent more than once"),
        ("request.headers['x-user-id'] == '1'", "it is absent; ask `has(…)` first"),
        ("true &&\n user.claims.tenant == 'a'", "it is absent; ask `has(…)` first (line 2, column"),
        ("user.claims.tier.sub == 'a'", "it is a text, not a set of claims"),
        ("user.claims.level.startsWith('3')", "it is a whole number, not a text"),
        ("user.claims.tier", "it is a text, not true or false"),
        ("user.claims.level / 0 == 1", "division by zero"),
        ("user.claims.level * 9223372036854775807 > 1", "a number is out of range"),
        ("user.permissions[2] == 'a'", "a number is out of range"),
        ("int(user.claims.tier) == 1", "it cannot be converted"),
    ] {
        assert!(ask(&asked, text).starts_with(why), "{text}: {}", ask(&asked, text));
    }
    let latin = exchange("GET / HTTP/1.1\r\nHost: a\r\nX: caf\u{e9}\r\n");
    assert_eq!(ask(&latin, "request.headers.x == 'café'"), "true");
    let mut bytes = exchange("GET / HTTP/1.1\r\nHost: a\r\nX: caf?\r\n");
    let at = bytes.request.buffer.iter().rposition(|byte| *byte == b'?').unwrap();
    bytes.request.buffer[at] = 0xe9;
    assert!(ask(&bytes, "request.headers.x == 'x'").starts_with("it is no text in UTF-8"));
}

#[test]
fn one_side_decides_whatever_fails_on_the_other() {
    let asked = with_user(HEAD, json!({"groups": ["a", 1, "b"]}));
    for (text, answer) in [
        ("user.claims.none == 1 || true", "true"),
        ("true || user.claims.none == 1", "true"),
        ("false && user.claims.none == 1", "false"),
        ("user.claims.none == 1 && false", "false"),
        ("user.claims.groups.exists(g, g.startsWith('b'))", "true"),
        ("user.claims.groups.all(g, g.startsWith('b'))", "false"),
        ("user.claims.groups.exists_one(g, g == 'a')", "true"),
        ("has(user.claims.org) && user.claims.org.id == 'x'", "false"),
        ("'a' in user.claims.groups && !('c' in user.claims.groups)", "true"),
        ("user.claims.groups[1] == 1.0 && user.claims.groups == ['a', 1, 'b']", "true"),
    ] {
        assert_eq!(ask(&asked, text), answer, "{text}");
    }
    for text in ["user.claims.none == 1 || false", "user.claims.none == 1 && true", "!(user.claims.none == 1)"] {
        assert!(ask(&asked, text).starts_with("it is absent"), "{text}");
    }
    assert!(ask(&asked, "user.claims.groups.exists(g, g.startsWith('c'))").starts_with("it is a whole number"));
    assert!(ask(&asked, "user.claims.groups.exists_one(g, g.startsWith('a'))").starts_with("it is a whole number"));
}

#[test]
fn without_a_user_there_is_nothing_of_one() {
    let asked = exchange(HEAD);
    for text in [
        "!user.known && user.id == '' && user.role == '' && user.via == ''",
        "user.roles.size() == 0 && user.permissions.size() == 0 && !('a' in user.roles)",
        "!has(user.claims.tier) && !('tier' in user.claims)",
    ] {
        assert_eq!(ask(&asked, text), "true", "{text}");
    }
    assert!(ask(&asked, "user.claims.tier != 'banned'").starts_with("it is absent"));
    assert!(ask(&asked, "user.claims['tier'] != 'banned'").starts_with("it is absent"));
}

#[test]
fn mistakes_are_told_with_their_places_and_the_nearest_name() {
    for (text, expected) in [
        ("reqest.method == 'GET'", "there is no variable `reqest`; did you mean `request`? (line 1, column 1"),
        ("request.metod == 'GET'", "`request` has no `metod`; did you mean `method`? (line 1, column 1"),
        ("true &&\n  user.clams.a == 1", "`user` has no `clams`; did you mean `claims`? (line 2, column 3"),
        ("request.path.startswith('/a')", "there is no function `startswith`; did you mean `startsWith`?"),
        ("request.path.frobnicate()", "there is no function `frobnicate`; there are contains, startsWith"),
        ("request == 1", "`request` is no value by itself; name a part of it, such as `request.id`"),
        ("request.headers == 1", "name one of them, such as `request.headers['name']`"),
        ("request.method == 1", "a text and a whole number are never equal"),
        ("request.method", "a condition must be true or false, and this is a text"),
        ("1 + 1.0 == 2.0", "this cannot be done with a whole number and a number; convert one"),
        ("'a' < 1", "a text and a whole number have no order"),
        ("!request.method", "this must be true or false, and it is a text"),
        ("1 in user.roles", "a whole number can never be in this"),
        ("request.path.matches(request.method)", "the pattern must be a text that stands here"),
        ("request.path.matches('(')", "this is not a regular expression: unclosed group"),
        ("request.path.matches('(a)\\\\1')", "this is not a regular expression: backreferences are not supported"),
        ("request.path.matches('(\\\\\\\\w{50}){50}')", "the pattern is too large"),
        ("cidr('10.0.0.0/99').containsIP(client.address)", "`10.0.0.0/99` is not a network such as 10.0.0.0/8"),
        ("user.roles.map(r, r) == []", "lists cannot be made here; ask `exists`, `all` or `exists_one`"),
        ("user.roles.filter(r, true) == []", "lists cannot be made here"),
        ("{'a': 1}.a == 1", "maps cannot be made here"),
        ("b'a' == b'a'", "write texts without `b`"),
        ("1u == 1u", "write whole numbers without `u`"),
        ("timestamp('2020-01-01T00:00:00Z') < timestamp('')", "times are seconds since 1970 here"),
        ("has(user.id)", "`user.id` is always there; compare it, or ask `user.known`"),
        ("size(1) == 1", "`size` cannot take a whole number"),
        ("request.path.contains('a', 'b')", "`contains` takes 1 here, not 2"),
        ("", "the expression is empty"),
        ("request.method = 'GET'", "this is not an expression: "),
        ("request.method == 'GET", "this is not an expression: "),
        ("(true", "this is not an expression: "),
        ("true true", "this is not an expression: "),
    ] {
        let found = mistakes(text);
        assert!(found.iter().any(|one| one.starts_with(expected)), "{text}: {found:?}");
    }
    assert!(mistakes("request.method = 'GET'")[0].contains("equality is `==`"));
    assert_eq!(mistakes("reqest.a == 1 && user.clams.b == 2").len(), 2, "all at once");
    assert_eq!(
        mistakes("'é' == 'e' && usr.id == ''")[0].split(" (").nth(1),
        Some("line 1, column 15 of the expression)")
    );
}

#[test]
fn what_is_not_known_yet_is_a_mistake() {
    let check = |text: &str, moment, wanted| {
        Expression::new(text).check(moment, wanted).err().map(|found| found[0].to_string())
    };
    let user = check("user.id == '7'", ExpressionMoment::Routed, ExpressionUse::Condition).unwrap();
    assert_eq!(user, "`user.id` is not known here, before authentication (line 1, column 1 of the expression)");
    let status = check("response.status > 499", ExpressionMoment::Authenticated, ExpressionUse::Condition).unwrap();
    assert!(status.starts_with("`response.status` is not known before the response was sent"), "{status}");
    assert!(check("response.headers.x == ''", ExpressionMoment::Authenticated, ExpressionUse::Condition).is_some());
    for text in ["user.id", "request.time / 60", "user.claims.org", "user.known", "'a' + request.headers.x"] {
        assert_eq!(check(text, ExpressionMoment::Authenticated, ExpressionUse::Key), None, "{text}");
    }
    let list = check("user.roles", ExpressionMoment::Authenticated, ExpressionUse::Key).unwrap();
    assert!(list.starts_with("a key must be a text or a whole number, and this is a list"), "{list}");
    assert!(Expression::new("user.claims.a == 1").reads_user() && !Expression::new("route.name == ''").reads_user());
}

#[test]
fn keys_differ_as_their_values_do() {
    let asked = with_user(HEAD, json!({"a": "1", "b": 1, "c": true, "long": "x".repeat(MAX_KEY + 1)}));
    let key = |text: &str| {
        let mut out = Vec::new();
        Expression::new(text).write_key(&scope(&asked), &mut out).map(|()| out)
    };
    let keys: std::collections::BTreeSet<_> =
        ["user.claims.a", "user.claims.b", "user.claims.c", "'11'", "''", "false"]
            .map(|text| key(text).unwrap())
            .into();
    assert_eq!(keys.len(), 6);
    assert_eq!(key("user.claims.a + ':' + route.name").unwrap(), key("'1:orders'").unwrap());
    for text in ["user.claims.none", "user.claims.long", "user.claims"] {
        assert!(key(text).is_err(), "{text}");
    }
}

#[test]
fn a_condition_is_explained_part_by_part() {
    let asked = with_user(HEAD, json!({"tier": "gold && silver"}));
    let explain = |text: &str| {
        let parts = Expression::new(text).explain(&scope(&asked));
        parts.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let parts =
        explain("user.claims.tier == 'gold && silver' &&\n  (request.method == 'GET' || false) && user.claims.x");
    assert_eq!(parts.len(), 3);
    assert_eq!(parts[0], "`user.claims.tier == 'gold && silver'` is true");
    assert_eq!(parts[1], "`(request.method == 'GET' || false)` is false");
    assert!(parts[2].starts_with("`user.claims.x` cannot be told: it is absent"), "{}", parts[2]);
    for whole in ["true && false || true", "true ? true && true : false", "true"] {
        assert_eq!(explain(whole), [format!("`{whole}` is true")]);
    }
}

#[test]
fn sizes_are_bounded() {
    let long = format!("'{}' == ''", "x".repeat(MAX_LENGTH));
    assert!(mistakes(&long)[0].starts_with("the expression has 4104 bytes, 4096 are allowed"));
    let many = ["true"; 300].join(" && ");
    assert!(mistakes(&many)[0].starts_with("the expression is too long; 400 names and signs are allowed"));
    assert_eq!(mistakes(&["true"; 130].join(" && ")), Vec::<String>::new());
    for (open, close) in [("(", ")"), ("[", "]"), ("!(", ")"), ("true ? ", " : true")] {
        let deep = format!("{}true{}", open.repeat(25), close.repeat(25));
        assert!(mistakes(&deep)[0].starts_with("the expression is nested too deeply"), "{deep}: {:?}", mistakes(&deep));
    }
    // What the crate cannot bound is bounded by the number of signs: none of these may end the process.
    for hostile in [
        format!("{}true", "!".repeat(390)),
        format!("{}1 == 1", "-".repeat(390)),
        format!("user.claims{} == 1", ".a".repeat(190)),
        format!("user.claims{} == 1", "[0]".repeat(120)),
        format!("1{} == 1", " + 1".repeat(190)),
        format!("user.claims{} == 1", ".a()".repeat(90)),
        format!("{}1 == 1", "-1 ".repeat(190)),
        "((((((((((((((((((((((((".to_owned(),
        "\"\\".to_owned(),
        "'''".to_owned(),
        "a".repeat(4096),
        ". . . . .".to_owned(),
        "\u{0}\u{1}".to_owned(),
        "'\\u{110000}' == ''".to_owned(),
        "9223372036854775808 == 1".to_owned(),
        "1e999 == 1.0".to_owned(),
    ] {
        let _ = mistakes(&hostile);
        let _ = Expression::new(&hostile).explain(&scope(&exchange(HEAD)));
    }
}

#[test]
fn cost_is_bounded() {
    let many: Vec<_> = (0..3000).map(|number| json!(number)).collect();
    let asked = with_user(HEAD, json!({"many": many, "text": "a".repeat(60_000)}));
    assert_eq!(ask(&asked, "user.claims.many.exists(n, n == 2000)"), "true");
    for text in [
        "user.claims.many.exists(n, user.claims.many.exists(m, n + m == -1))",
        "user.claims.many.all(n, n * 2 >= 0 && n * 3 >= 0)",
        "user.claims.many == user.claims.many && user.claims.many == user.claims.many \
         && user.claims.many == user.claims.many && user.claims.many == user.claims.many",
        "user.claims.many.exists(n, user.claims.text.contains('b'))",
        "user.claims.many.exists(n, user.claims.text.matches('(a|aa)+$b'))",
    ] {
        assert!(ask(&asked, text).starts_with("it takes too many steps"), "{text}: {}", ask(&asked, text));
    }
    assert!(ask(&asked, "user.claims.text + 'a' == ''").starts_with("a text gets too long"));
}

proptest! {
    #[test]
    fn no_text_ends_the_process(text in "[a-z.()\\[\\]'\"!&|?:=<>+*/%,0-9{}\\\\ \n-]{0,80}") {
        let asked = exchange(HEAD);
        let expression = Expression::new(&text);
        let _ = expression.check(ExpressionMoment::Over, ExpressionUse::Condition);
        let _ = expression.is_met(&scope(&asked));
        let _ = expression.explain(&scope(&asked));
    }
}
