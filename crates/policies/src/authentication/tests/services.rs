//! Services that say who the client is: introspection of tokens, and services that decide about each request.

use parking_lot::Mutex;
use proptest::prelude::*;
use pylae_core::hook::Identified;
use pylae_core::{Answer, User};

use super::super::credential::{CredentialPart, SentCredentials};
use super::super::{FunctionEnd, IdentityFunction};
use super::functions::{Fake, function};
use super::*;

/// A chain with authenticators, all of whose functions are the same.
struct Services {
    chain: Chain,
    fake: Arc<Fake>,
}

impl Services {
    fn new(authenticators: &[Value], required: bool, answer: fn(&mut Exchange) -> FunctionEnd) -> Self {
        let shared = Arc::new(PolicyShared::new(100));
        let limited =
            json!({"realm": "test", "failure_limit": {"limit": 5, "per": 60.0}, "authenticators": authenticators});
        let built = Authenticators::build(Some(&limited), &shared.identity).unwrap();
        let fake = Arc::new(Fake { asked: Mutex::default(), answer, waits: true });
        built.connect(1, |_, _, _| Some(Arc::clone(&fake) as Arc<dyn IdentityFunction>));
        let names: Vec<&str> = built.list.iter().map(|one| one.name()).collect();
        let policy = json!({"authenticators": names, "required": required});
        let configs = BTreeMap::from([("authentication".to_owned(), policy)]);
        let parts = Parts { route: "r", service: "", params: &[], shared: &shared, auth: &built };
        Self { chain: Chain::build(&configs, &parts).unwrap(), fake }
    }

    fn verdict(&self, exchange: &mut Exchange) -> Verdict {
        exchange.entered = 0;
        let mut verdict = self.chain.request(exchange);
        while let Verdict::Wait(mut waiting) = verdict {
            let Poll::Ready(resume) = poll(waiting.as_mut()) else { panic!("it waits for nothing") };
            verdict = self.chain.resume(exchange, resume);
        }
        verdict
    }

    /// Returns whom it lets pass, or the status and what is said.
    fn ask(&self, exchange: &mut Exchange) -> Result<String, (u16, String)> {
        match self.verdict(exchange) {
            Verdict::Answer(answer) => Err((answer.status, String::from_utf8_lossy(&answer.body).into_owned())),
            verdict => user_or_rejection(verdict, exchange)
                .map_err(|rejection| (rejection.status, rejection.message.clone().into_owned())),
        }
    }

    fn asked(&self) -> usize {
        self.fake.asked.lock().len()
    }
}

fn introspection() -> Value {
    function(&json!({
        "kind": "introspection", "name": "i", "via": "introspection", "challenge": "Bearer", "key": ["bearer"],
        "leeway": 30.0, "binding": jwt(&secret(), &json!({}))["binding"],
    }))
}

fn forward_auth(more: &Value) -> Value {
    let mut settings = json!({
        "name": "s", "via": {"forward_auth": {"copy": ["x-team"], "reserved": ["x-team", "remote-user"]}},
        "challenge": "s", "key": ["cookie:sid", "target"],
    });
    for (name, value) in more.as_object().unwrap() {
        settings[name] = value.clone();
    }
    function(&settings)
}

fn refused(status: u16, message: &'static str) -> Result<String, (u16, String)> {
    Err((status, message.to_owned()))
}

/// Knows tokens that begin with `ok`, and fails at `down`.
fn introspect(exchange: &mut Exchange) -> FunctionEnd {
    let sent = exchange.request.values("authorization").next().unwrap_or_default();
    let token = String::from_utf8_lossy(sent).replace("Bearer ", "");
    exchange.hook_visit().identified = if token.starts_with("ok") || token.starts_with("ey") {
        Identified::User(Arc::new(User { id: token.chars().take(4).collect(), ..User::default() }))
    } else {
        Identified::Nobody
    };
    if token == "down" {
        let headers = vec![("Retry-After".into(), "7".to_owned())];
        return FunctionEnd::Reject(Box::new(Rejection { status: 503, code: "x", message: "x".into(), headers }));
    }
    FunctionEnd::Continue
}

#[test]
fn a_token_is_asked_about_once_and_other_schemes_never() {
    let services = Services::new(&[introspection()], true, introspect);
    for _ in 0..2 {
        assert_eq!(services.ask(&mut bearer("ok1")), Ok("ok1".into()));
        assert_eq!(services.ask(&mut request("/", &["authorization: bEARER  ok1"])), Ok("ok1".into()));
        assert_eq!(services.ask(&mut bearer("no")), refused(401, "the token is not active"));
    }
    assert_eq!(services.asked(), 2);
    for field in ["Authorization: Basic ok1", "Authorization: Bearer", "X-A: 1"] {
        assert_eq!(services.ask(&mut request("/", &[field])), refused(401, "authentication is required"));
    }
    assert_eq!(services.asked(), 2);
    let Verdict::Reject(rejection) = services.verdict(&mut bearer("no")) else { panic!("it passed") };
    let challenge = "Bearer realm=\"test\", error=\"invalid_token\", error_description=\"the token is not active\"";
    assert_eq!(rejection.headers, [("WWW-Authenticate".into(), challenge.to_owned())]);
}

#[test]
fn a_token_that_is_not_active_is_refused_where_none_is_required() {
    let services = Services::new(&[introspection()], false, introspect);
    assert_eq!(services.ask(&mut bearer("no")), refused(401, "the token is not active"));
    assert_eq!(services.ask(&mut request("/", &[])), Ok(String::new()));
}

#[test]
fn a_server_that_is_away_lets_nobody_pass_and_is_nobodys_failure() {
    for required in [true, false] {
        let services = Services::new(&[introspection()], required, introspect);
        for _ in 0..7 {
            let Verdict::Reject(rejection) = services.verdict(&mut bearer("down")) else { panic!("it passed") };
            assert_eq!((rejection.status, rejection.code), (503, "authentication_unavailable"));
            assert_eq!(rejection.headers, [("Retry-After".into(), "7".to_owned())]);
        }
        assert_eq!(services.asked(), 7);
    }
}

#[test]
fn what_jwt_recognises_is_not_asked_about() {
    let issued = |issuer: &str, more: &Value| {
        let mut claims = json!({"sub": "7", "iss": issuer, "exp": NOW + 60});
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        token(&claims)
    };
    let own = jwt(&secret(), &json!({"issuers": ["https://one"], "audiences": ["shop"]}));
    let services = Services::new(&[own, introspection()], true, introspect);
    let for_shop = json!({"aud": "shop"});
    assert_eq!(services.ask(&mut bearer(&issued("https://one", &for_shop))), Ok("7".into()));
    let (forged, _) = issued("https://one", &for_shop).rsplit_once('.').map(|(a, b)| (a.to_owned(), b.len())).unwrap();
    for (token, why) in [
        (issued("https://one", &json!({"aud": "shop", "exp": NOW - 60})), "the token has expired"),
        (issued("https://one", &json!({"aud": "other"})), "the token is for another audience"),
        (format!("{forged}.AAAA"), "the token's signature does not match"),
    ] {
        assert_eq!(services.ask(&mut bearer(&token)), refused(401, why));
    }
    assert_eq!(services.asked(), 0);
    for token in ["ok-opaque".to_owned(), issued("https://two", &for_shop), "ey.x.AAAA".to_owned()] {
        let expected = token.chars().take(4).collect();
        assert_eq!(services.ask(&mut bearer(&token)), Ok(expected), "{token}");
    }
    assert_eq!(services.ask(&mut bearer("no")), refused(401, "the token is not active"));
    assert_eq!(services.asked(), 4);
}

#[test]
fn a_revoked_token_is_not_asked_about() {
    let shared = Arc::new(PolicyShared::new(100));
    let built = Authenticators::build(Some(&auth(&[jwt(&secret(), &json!({})), introspection()])), &shared.identity);
    let built = built.unwrap();
    let fake = Arc::new(Fake { asked: Mutex::default(), answer: introspect, waits: false });
    built.connect(1, |_, _, _| Some(Arc::clone(&fake) as Arc<dyn IdentityFunction>));
    let policy = json!({"authenticators": ["jwt", "i"], "required": true});
    let configs = BTreeMap::from([("authentication".to_owned(), policy)]);
    let parts = Parts { route: "r", service: "", params: &[], shared: &shared, auth: &built };
    let chain = Chain::build(&configs, &parts).unwrap();
    let token = token(&json!({"sub": "7", "jti": "a", "exp": NOW + 60}));
    assert_eq!(who(&chain, &mut bearer(&token)), Ok("7".into()));
    let at = clocks(Duration::from_secs(NOW));
    assert!(shared.identity.revoke(Revoked::Token("a"), at, Duration::from_secs(60)));
    assert_eq!(who(&chain, &mut bearer(&token)), Err("the token was revoked".into()));
    assert!(fake.asked.lock().is_empty());
}

/// Lets the session `ada` pass, bars paths, and sends strangers to log in.
fn decide(exchange: &mut Exchange) -> FunctionEnd {
    let cookie = exchange.request.values("cookie").next().unwrap_or_default().to_vec();
    let path = String::from_utf8_lossy(&exchange.request.target.path).into_owned();
    let visit = exchange.hook_visit();
    let answer = |status, body: &str| {
        let headers = vec![("Location".into(), b"https://login.example/".to_vec())];
        FunctionEnd::Answer(Box::new(Answer { status, headers, body: body.as_bytes().into() }))
    };
    visit.identified_until = Some(Duration::from_secs(NOW + 30));
    match (cookie.as_slice(), path.as_str()) {
        (b"sid=ada", "/barred") => answer(403, "not for you"),
        (b"sid=ada", _) => {
            let claims = json!({"x-team": "blue"}).as_object().unwrap().clone();
            let user = User { id: "ada".to_owned(), claims, ..User::default() };
            visit.identified = Identified::User(Arc::new(user));
            FunctionEnd::Continue
        }
        (b"sid=bad", _) => answer(401, "who?"),
        (b"", "/api") => answer(401, "log in"),
        (b"sid=guest", _) => {
            visit.identified = Identified::Nobody;
            FunctionEnd::Continue
        }
        _ => answer(302, ""),
    }
}

#[test]
fn verdicts_are_remembered_for_what_was_asked_and_as_long_as_the_service_says() {
    let services = Services::new(&[forward_auth(&json!({}))], true, decide);
    let later = |mut exchange: Exchange, seconds| {
        exchange.times.wall += Duration::from_secs(seconds);
        exchange
    };
    for (path, cookie, expected) in [
        ("/", "ada", Ok("ada".to_owned())),
        ("/barred", "ada", refused(403, "not for you")),
        ("/", "bad", refused(401, "who?")),
        ("/", "guest", refused(401, "the credential belongs to no known user")),
    ] {
        let before = services.asked();
        let cookie = format!("Cookie: sid={cookie}");
        for seconds in [0, 29] {
            let mut exchange = later(request(path, &[&cookie, &format!("X-Other: {seconds}")]), seconds);
            exchange.request.origin.client = [192, 0, 2, before as u8].into();
            assert_eq!(services.ask(&mut exchange), expected, "{path} {cookie}");
        }
        assert_eq!(services.asked(), before + 1);
        assert_eq!(services.ask(&mut later(request(path, &[&cookie]), 30)), expected);
        assert_eq!(services.asked(), before + 2);
    }
}

#[test]
fn requests_without_a_credential_are_asked_about_each_time() {
    for (required, open) in [(true, refused(401, "log in")), (false, Ok(String::new()))] {
        let services = Services::new(&[forward_auth(&json!({}))], required, decide);
        // More often than an address may fail.
        for _ in 0..7 {
            assert_eq!(services.ask(&mut request("/api", &[])), open);
        }
        assert_eq!(services.asked(), 7);
    }
}

#[test]
fn only_people_are_sent_elsewhere() {
    let services = Services::new(&[forward_auth(&json!({}))], true, decide);
    for fields in [&["Sec-Fetch-Mode: navigate"][..], &["Accept: text/html"], &["Accept: a/b, Text/HTML;q=0.9"]] {
        assert_eq!(services.ask(&mut request("/", fields)), refused(302, ""), "{fields:?}");
    }
    for fields in [
        &["Sec-Fetch-Mode: cors", "Accept: text/html"][..],
        &["Accept: application/json"],
        &["Accept: text/html", "X-Requested-With: XMLHttpRequest"],
        &[],
    ] {
        assert_eq!(services.ask(&mut request("/", fields)), refused(401, "authentication is required"), "{fields:?}");
    }
    let old = request("/", &["Cookie: sid=old"]);
    assert_eq!(services.ask(&mut { old }), refused(401, "the service does not accept the credential"));
}

#[test]
fn instances_are_sent_what_the_service_has_set() {
    let services = Services::new(&[forward_auth(&json!({}))], true, decide);
    for _ in 0..2 {
        let mut exchange = request("/", &["Cookie: sid=ada"]);
        assert_eq!(services.ask(&mut exchange), Ok("ada".into()));
        assert_eq!(exchange.request.edits.get(b"X-Team"), Some(&b"blue"[..]));
        assert_eq!(exchange.request.user.unwrap().via, "forward_auth");
    }
    let built = Authenticators::build(Some(&auth(&[forward_auth(&json!({}))])), &PolicyShared::new(1).identity);
    assert_eq!(built.unwrap().reserved_fields().collect::<Vec<_>>(), ["x-team", "remote-user"]);
}

/// All that a service may see of a request, if its verdicts are remembered by it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    method: String,
    secure: bool,
    host: String,
    path: String,
    query: Option<String>,
    cookie: Option<String>,
    field: Option<String>,
}

fn seen() -> impl Strategy<Value = Seen> {
    let text = || proptest::option::of("[ab=&?%+]{0,2}");
    let word = || proptest::option::of("[ab=]{1,2}");
    (("GET|PUT|get", any::<bool>(), "[ab]{1,2}(:8)?", "/[ab]{0,2}"), (text(), word(), word())).prop_map(
        |((method, secure, host, path), (query, cookie, field))| Seen {
            method,
            secure,
            host,
            path,
            query,
            cookie,
            field,
        },
    )
}

impl Seen {
    fn exchange(&self) -> Exchange {
        let query = self.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        let mut fields: Vec<String> = self.cookie.iter().map(|value| format!("Cookie: sid={value}")).collect();
        fields.extend(self.field.iter().map(|value| format!("X-Token: {value}")));
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let mut exchange = Exchange::new(1024);
        let lines = fields.iter().fold(String::new(), |lines, field| lines + field + "\r\n");
        let (method, path) = (&self.method, &self.path);
        exchange.request.buffer = format!("{method} {path}{query} HTTP/1.1\r\nHost: x\r\n{lines}\r\n").into_bytes();
        let limits = HeadLimits { head: 1 << 16, target: 8192, fields: 100 };
        let request = &mut exchange.request;
        assert_eq!(request.head.parse(&request.buffer, &limits), Ok(true));
        request.target.read(request.head.target.of(&request.buffer), request.head.method).unwrap();
        request.host = self.host.clone().into_bytes();
        request.host_len = self.host.find(':').unwrap_or(self.host.len());
        request.origin.secure = self.secure;
        exchange
    }

    /// What the copy of a request shows.
    fn of(exchange: &Exchange) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let request = &exchange.request;
        Self {
            method: text(request.head.method_span.of(&request.buffer)),
            secure: request.origin.secure,
            host: text(&request.host),
            path: text(&request.target.path),
            query: request.query().map(text),
            cookie: request.values("cookie").next().map(|value| text(value).replacen("sid=", "", 1)),
            field: request.values("x-token").next().map(text),
        }
    }
}

fn parts(names: &[&str]) -> Vec<CredentialPart> {
    names.iter().map(|part| (*part).to_owned().try_into().unwrap()).collect()
}

proptest! {
    /// Two requests share a verdict if and only if the service is shown the same of both. It is shown all of that, and
    /// nothing else.
    #[test]
    fn no_two_requests_that_look_different_share_a_verdict(one in seen(), other in seen()) {
        let parts = parts(&["cookie:sid", "header:X-Token", "target"]);
        let (first, second) = (one.exchange(), other.exchange());
        let (found, others) = (SentCredentials::of(&first, &parts), SentCredentials::of(&second, &parts));
        prop_assert_eq!(found.identity() == others.identity(), one == other);
        prop_assert_eq!(found.present, one.cookie.is_some() || one.field.is_some());
        let masked = found.request(&first).unwrap();
        prop_assert_eq!(Seen::of(&masked), one.clone());
        prop_assert_eq!(masked.request.host_name(), first.request.host_name());
        let shown = 1 + usize::from(one.cookie.is_some()) + usize::from(one.field.is_some());
        prop_assert_eq!(masked.request.head.fields.len(), shown);
    }

    /// Without the target, it is neither shown nor part of the key.
    #[test]
    fn without_its_target_a_request_is_its_credentials(one in seen(), other in seen()) {
        let parts = parts(&["cookie:sid", "header:X-Token"]);
        let (first, second) = (one.exchange(), other.exchange());
        let (found, others) = (SentCredentials::of(&first, &parts), SentCredentials::of(&second, &parts));
        let same = (&one.cookie, &one.field) == (&other.cookie, &other.field);
        prop_assert_eq!(found.identity() == others.identity(), same);
        let masked = Seen::of(&found.request(&first).unwrap());
        let nothing = Seen {
            method: "GET".into(), secure: false, host: String::new(), path: "/".into(), query: None, ..one
        };
        prop_assert_eq!(masked, nothing);
    }
}
