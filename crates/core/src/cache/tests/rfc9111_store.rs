//! RFC 9111 section 3: what is stored, and in what form.

use super::*;
use crate::User;

#[test]
fn s3_methods_other_than_get_are_not_stored() {
    let world = World::new();
    for method in ["POST", "PUT", "OPTIONS", "FROB"] {
        world.fetch(&format!("{method} /"), "200\nCache-Control: public, max-age=60", "x");
    }
    world.fetch("HEAD /", "200\nCache-Control: public, max-age=60", "");
    assert_eq!(world.ask("GET /"), miss());
}

#[test]
fn s3_must_understand_lets_no_store_be_ignored_for_known_statuses() {
    for status in ["200", "301", "404", "503"] {
        assert!(
            World::new().keeps(&format!("{status}\nCache-Control: max-age=60, no-store, must-understand")),
            "{status}"
        );
        assert!(World::new().keeps(&format!("{status}\nCache-Control: max-age=60, must-understand")), "{status}");
    }
    for status in ["299", "451", "599"] {
        assert!(!World::new().keeps(&format!("{status}\nCache-Control: max-age=60, must-understand")), "{status}");
        assert!(!World::new().keeps(&format!("{status}\nCache-Control: max-age=60, no-store, must-understand")));
    }
}

#[test]
fn s3_no_store_responses_are_not_stored() {
    assert!(!World::new().keeps("200\nCache-Control: max-age=60, no-store"));
}

#[test]
fn s3_private_responses_are_not_stored() {
    assert!(!World::new().keeps("200\nCache-Control: max-age=60, private"));
    assert!(!World::new().keeps("200\nCache-Control: max-age=60, private=\"x-user, x-other\""));
}

#[test]
fn s3_responses_need_a_reason_to_be_stored() {
    for status in ["302", "303", "307"] {
        assert!(!World::new().keeps(&format!("{status}\nLocation: /x")), "{status}");
        assert!(World::new().keeps(&format!("{status}\nLocation: /x\nCache-Control: max-age=60")), "{status}");
    }
    for status in ["200", "203", "300", "301", "308"] {
        assert!(World::new().keeps(status), "{status}");
    }
}

#[test]
fn s3_responses_with_set_cookie_are_not_stored() {
    assert!(!World::new().keeps("200\nSet-Cookie: a=1\nCache-Control: public, max-age=60"));
}

#[test]
fn responses_with_set_cookie_are_stored_without_it_if_the_route_says_so() {
    let world = World::with(CacheRules { strips_set_cookie: true, ..rules() });
    assert!(world.keeps("200\nSet-Cookie: a=1\nX-Other: 1\nset-cookie: b=2"));
    let mut exchange = world.exchange("GET /");
    world.lookup(&mut exchange);
    assert_eq!(fields(&exchange, "set-cookie"), [""; 0]);
    assert_eq!(fields(&exchange, "x-other"), ["1"]);
}

#[test]
fn s3_override_never_stores_what_is_private() {
    let all = || World::with(CacheRules { overrides: true, ..rules() });
    assert!(all().keeps("200\nCache-Control: max-age=0"));
    assert!(all().keeps("200\nExpires: 0"));
    assert!(!all().keeps("200\nCache-Control: private"));
    assert!(!all().keeps("200\nCache-Control: no-store"));
    assert!(!all().keeps("200\nCache-Control: no-cache"));
}

#[test]
fn s3_1_all_fields_are_kept() {
    let world = World::new();
    world.fetch("GET /", "200\nX-Unknown: 1\nx-unknown: 2\nContent-Language: de\nVary: X-A", "x");
    let mut exchange = world.exchange("GET /");
    world.lookup(&mut exchange);
    assert_eq!(fields(&exchange, "x-unknown"), ["1", "2"]);
    assert_eq!(fields(&exchange, "content-language"), ["de"]);
    assert_eq!(fields(&exchange, "vary"), ["X-A"]);
}

#[test]
fn s3_1_fields_of_the_connection_are_not_kept() {
    let world = World::new();
    let fields_of_connection = "Connection: keep-alive, X-Hop\nX-Hop: 1\nKeep-Alive: timeout=5\nProxy-Authenticate: Basic\n\
                                Proxy-Authorization: x\nproxy-authentication-info: x\nUpgrade: h2c";
    world.fetch("GET /", &format!("200\n{fields_of_connection}\nX-End: 1"), "x");
    let mut exchange = world.exchange("GET /");
    world.lookup(&mut exchange);
    let gone = ["connection", "x-hop", "keep-alive", "upgrade"];
    for name in gone.into_iter().chain(["proxy-authenticate", "proxy-authorization", "proxy-authentication-info"]) {
        assert_eq!(fields(&exchange, name), [""; 0], "{name}");
    }
    assert_eq!(fields(&exchange, "x-end"), ["1"]);
}

#[test]
fn s3_1_a_missing_date_is_added() {
    let mut world = World::new();
    world.fetch("GET /", "200", "x");
    let then = world.date(0);
    world.at += 10;
    let mut exchange = world.exchange("GET /");
    world.lookup(&mut exchange);
    assert_eq!(fields(&exchange, "date"), [then]);
}

#[test]
fn s3_2_a_validating_answer_replaces_fields_and_leaves_the_others() {
    let world = World::new();
    world.fetch("GET /", "200\nETag: \"1\"\nCache-Control: max-age=0\nX-A: 1\nX-A: 2\nX-B: 1", "x");
    let (exchange, settled) =
        world.fetch("GET /", "304\nETag: \"1\"\nCache-Control: max-age=60\nx-a: 3\nX-A: 4\nX-C: 1", "");
    assert!(matches!(settled, Settled::Serve(_)));
    assert_eq!(fields(&exchange, "x-a"), ["3", "4"]);
    assert_eq!(fields(&exchange, "x-b"), ["1"]);
    assert_eq!(fields(&exchange, "x-c"), ["1"]);
    assert_eq!(world.ask("GET /"), hit("x"));
}

#[test]
fn s3_2_a_validating_answer_does_not_change_what_describes_the_body() {
    let world = World::new();
    world.fetch(
        "GET /",
        "200\nETag: \"1\"\nCache-Control: max-age=0\nContent-Type: a/b\nContent-Encoding: gzip",
        "xyz",
    );
    let update = "304\nETag: \"1\"\nContent-Length: 0\nContent-Type: c/d\nContent-Encoding: br\nContent-Range: bytes 0-1/2\n\
                  Set-Cookie: a=1\nConnection: X-Hop\nX-Hop: 1\nProxy-Authentication-Info: x";
    let (exchange, settled) = world.fetch("GET /", update, "");
    let Settled::Serve(stored) = settled else { panic!() };
    assert_eq!(&*stored.entry.body, b"xyz");
    assert_eq!(fields(&exchange, "content-type"), ["a/b"]);
    assert_eq!(fields(&exchange, "content-encoding"), ["gzip"]);
    for name in ["content-length", "content-range", "set-cookie", "x-hop", "connection", "proxy-authentication-info"] {
        assert_eq!(fields(&exchange, name), [""; 0], "{name}");
    }
}

#[test]
fn s3_3_incomplete_responses_are_not_stored() {
    let world = World::new();
    let mut exchange = world.exchange("GET /");
    world.lookup(&mut exchange);
    let framing = world.head(&mut exchange, "200", 8);
    on_response(&mut exchange, &Arc::from("s"), framing);
    exchange.cache_visit().copy_body(b"body");
    exchange.cache_visit().abort();
    assert_eq!(world.ask("GET /"), miss());
    // A body that ends with the connection cannot be told from one that broke off.
    let mut exchange = world.exchange("GET /");
    world.lookup(&mut exchange);
    world.head(&mut exchange, "200", 8);
    on_response(&mut exchange, &Arc::from("s"), Framing::Close);
    exchange.cache_visit().copy_body(b"body");
    exchange.cache_visit().complete();
    assert!(!world.holds("/"));
}

#[test]
fn s3_5_answers_to_authorised_requests_are_not_shared() {
    for field in ["Authorization: Basic YTpi", "X-API-Key: k"] {
        let world = World::new();
        world.fetch(&format!("GET /\n{field}"), "200\nCache-Control: max-age=60", "x");
        assert!(!world.holds("/"), "{field}");
    }
}

#[test]
fn s3_5_answers_to_authorised_requests_are_shared_if_the_origin_says_so() {
    for allowed in ["public, max-age=60", "must-revalidate, max-age=60", "s-maxage=60"] {
        let world = World::new();
        world.fetch("GET /\nAuthorization: Basic YTpi", &format!("200\nCache-Control: {allowed}"), "x");
        assert!(world.holds("/"), "{allowed}");
    }
}

fn user(id: &str, role: &str) -> Arc<User> {
    Arc::new(User { id: id.into(), role: role.into(), via: "jwt", ..User::default() })
}

#[test]
fn s3_5_users_have_answers_of_their_own() {
    let world = World::new();
    let look = |who: Option<Arc<User>>| {
        let mut exchange = world.exchange("GET /\nAuthorization: Bearer x");
        exchange.request.user = who;
        let verdict = world.lookup(&mut exchange);
        (exchange, verdict)
    };
    let (mut exchange, _) = look(Some(user("ann", "user")));
    world.answer(&mut exchange, "200", "for ann");
    let mine = |who| {
        let (exchange, verdict) = look(who);
        got(&exchange, verdict)
    };
    assert_eq!(mine(Some(user("ann", "user"))), hit("for ann"));
    assert_eq!(mine(Some(user("bob", "user"))), miss());
    assert_eq!(mine(Some(user("ann", "admin"))), miss());
    assert_eq!(mine(Some(user("annu", "ser"))), miss());
    let limited = User { permissions: vec!["read".into()], ..(*user("ann", "user")).clone() };
    assert_eq!(mine(Some(Arc::new(limited))), miss());
    assert_eq!(mine(None), miss());
}

#[test]
fn s3_5_without_per_user_an_authenticated_user_is_authorisation() {
    let world = World::with(CacheRules { per_user: false, ..rules() });
    for (control, kept) in [("max-age=60", false), ("public, max-age=60", true)] {
        let mut exchange = world.exchange("GET /");
        exchange.request.user = Some(user("ann", "user"));
        world.lookup(&mut exchange);
        world.answer(&mut exchange, &format!("200\nCache-Control: {control}"), "x");
        assert_eq!(world.holds("/"), kept, "{control}");
    }
}

/// Asks for `/` as `who`, whatever the client claims.
fn as_user(world: &World, who: Option<Arc<User>>, fields: &str) -> (Exchange, Verdict) {
    let mut exchange = world.exchange(&format!("GET /{fields}"));
    exchange.request.user = who;
    let verdict = world.lookup(&mut exchange);
    (exchange, verdict)
}

/// The origin answers after the gateway has written its own fields.
fn announced(world: &World, exchange: &mut Exchange, answer: &str, body: &str) {
    crate::request::forwarding::add_fields(exchange, "192.0.2.1", &mut Vec::new()).unwrap();
    world.answer(exchange, answer, body);
}

#[test]
fn s4_1_the_identity_is_what_is_forwarded_not_what_the_client_says() {
    for name in ["X-User-ID", "x-user-id", "X_User_Id", "X-User-Role", "X-User-Email"] {
        let world = World::with(CacheRules { per_user: false, ..rules() });
        let named = |id: &str| {
            let (role, email) = (format!("role of {id}"), format!("{id}@test"));
            Some(Arc::new(User { id: id.into(), role, email, via: "jwt", ..User::default() }))
        };
        let (mut exchange, _) = as_user(&world, named("ann"), "");
        announced(&world, &mut exchange, &format!("200\nVary: {name}\nCache-Control: public"), "for ann");
        let asks = |who: Option<Arc<User>>, fields: &str| {
            let (exchange, verdict) = as_user(&world, who, fields);
            got(&exchange, verdict)
        };
        assert_eq!(asks(named("ann"), ""), hit("for ann"), "{name}");
        assert_eq!(asks(named("bob"), ""), miss(), "{name}");
        assert_eq!(asks(None, ""), miss(), "{name}");
        let claimed = "\nX-User-ID: ann\nX-User-Role: role of ann\nX-User-Email: ann@test";
        assert_eq!(asks(None, claimed), miss(), "{name}");
        assert_eq!(asks(named("bob"), claimed), miss(), "{name}");
        assert_eq!(asks(named("ann"), "\nX-User-ID: bob"), hit("for ann"), "{name}");
    }
}

#[test]
fn a_configured_field_of_the_identity_is_what_is_forwarded() {
    let world = World::with(CacheRules { per_user: false, vary: ["x-user-role".into()].into(), ..rules() });
    let (mut exchange, _) = as_user(&world, Some(user("ann", "clerk")), "");
    announced(&world, &mut exchange, "200\nCache-Control: public", "for clerks");
    let asks = |who, fields| {
        let (exchange, verdict) = as_user(&world, who, fields);
        got(&exchange, verdict)
    };
    assert_eq!(asks(Some(user("bob", "clerk")), "\nX-User-Role: guest"), hit("for clerks"));
    assert_eq!(asks(Some(user("bob", "guest")), "\nX-User-Role: clerk"), miss());
    assert_eq!(asks(None, "\nX-User-Role: clerk"), miss());
}

#[test]
fn s4_1_a_field_that_a_hook_has_set_behind_the_cache_answers_nobody_else() {
    let world = World::new();
    for (name, kept) in [("X-Tenant", false), ("Accept-Encoding", true)] {
        let mut exchange = world.exchange("GET /");
        world.lookup(&mut exchange);
        exchange.request.edits.set(name.as_bytes(), b"acme").unwrap();
        world.answer(&mut exchange, &format!("200\nVary: {name}"), "x");
        assert!(!matches!(world.ask(&format!("GET /\n{name}: acme")), Got::Stored { .. }), "{name}");
        assert_eq!(world.holds("/"), kept, "{name}");
    }
}

#[test]
fn s4_1_the_prefix_follows_from_the_key_unless_hooks_may_have_set_it() {
    for (hooked, kept) in [(false, true), (true, false)] {
        let world = World::new();
        let mut exchange = world.exchange("GET /");
        exchange.request.stripped.extend_from_slice(b"/api");
        world.lookup(&mut exchange);
        if hooked {
            exchange.hook_visit();
            exchange.request.edits.set(b"X-Forwarded-Prefix", b"/acme").unwrap();
        }
        announced(&world, &mut exchange, "200\nVary: X-Forwarded-Prefix", "x");
        assert_eq!(world.holds("/"), kept, "{hooked}");
    }
}

#[test]
fn s3_5_a_user_whom_a_hook_has_found_behind_the_cache_is_authorisation() {
    for (control, kept) in [("max-age=60", false), ("public, max-age=60", true)] {
        let world = World::new();
        let (mut exchange, _) = as_user(&world, None, "");
        exchange.request.user = Some(user("ann", "user"));
        announced(&world, &mut exchange, &format!("200\nCache-Control: {control}"), "x");
        assert_eq!(world.holds("/"), kept, "{control}");
    }
}

#[test]
fn answers_to_requests_with_cookies_need_the_origins_word() {
    let kept = |rules: CacheRules, answer: &str| {
        let world = World::with(rules);
        world.fetch("GET /\nCookie: session=1", answer, "x");
        matches!(world.ask("GET /\nCookie: session=1"), Got::Stored { .. })
    };
    assert!(!kept(rules(), "200"));
    assert!(!kept(rules(), "200\nCache-Control: max-age=60"));
    assert!(!kept(rules(), "200\nCache-Control: must-revalidate\nExpires: Thu, 18 Aug 2050 02:01:18 GMT"));
    assert!(kept(rules(), "200\nCache-Control: s-maxage=60"));
    assert!(kept(rules(), "200\nCache-Control: public"));
    assert!(kept(rules(), "200\nVary: Cookie"));
    assert!(kept(CacheRules { ignore_cookies: true, ..rules() }, "200"));
    assert!(kept(CacheRules { vary: ["cookie".into()].into(), ..rules() }, "200"));
}

#[test]
fn fields_that_are_for_one_client_are_not_kept() {
    let world = World::new();
    world.fetch("GET /", "200\nX-Request-ID: abc\nAge: 3\nWarning: 110 - stale", "x");
    let mut exchange = world.exchange("GET /");
    world.lookup(&mut exchange);
    for name in ["x-request-id", "age", "warning"] {
        assert_eq!(fields(&exchange, name), [""; 0], "{name}");
    }
}
