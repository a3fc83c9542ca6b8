//! Sessions in cookies: which are good, when Python is asked, and what instances see of them.

use parking_lot::Mutex;
use pylae_core::hook::{AskedFor, Identified};
use pylae_core::request::session::NoSession;
use pylae_core::request::session::sealer::Sealer;
use pylae_core::{Answer, User};
use pylae_http::Name;

use super::super::{FunctionEnd, IdentityFunction};
use super::functions::Fake;
use super::*;

const KEY: &str = "a secret of more than thirty-two bytes, for cookies";
const OTHER: &str = "another secret of more than thirty-two bytes, for them";

fn oidc(secrets: &[&str], more: &Value) -> Value {
    let call = json!({
        "hook": 0, "name": "o", "on": "authenticate", "run": "loop", "timeout": 15.0, "on_error": "fail",
        "body": 65536, "budget": null, "error_body": null, "malformed": false,
    });
    let mut settings = json!({
        "kind": "oidc", "name": "oidc", "secrets": secrets, "origin": null, "call": call,
        "cookies": {"http": "pylae-oidc", "https": "__Host-pylae-oidc"},
    });
    for (name, value) in more.as_object().unwrap() {
        settings[name] = value.clone();
    }
    settings
}

/// Says by the request what Pylae's Python would.
fn python(exchange: &mut Exchange) -> FunctionEnd {
    let headers = vec![("Location".into(), b"https://login.example/".to_vec())];
    let visit = exchange.hook_visit();
    match visit.asked_for {
        Some(AskedFor::Login) => {
            visit.fields.append(b"Set-Cookie", b"pylae-oidc-attempt-AAAAAAAA=1").unwrap();
            FunctionEnd::Answer(Box::new(Answer { status: 302, headers, body: Arc::default() }))
        }
        Some(AskedFor::Check) => {
            visit.identified = Identified::User(Arc::new(User { id: "asked".into(), ..User::default() }));
            visit.identified_until = Some(Duration::from_secs(NOW + 30));
            FunctionEnd::Continue
        }
        None => panic!("it was not said what for"),
    }
}

/// Knows nobody, and begins no login.
fn nobody(exchange: &mut Exchange) -> FunctionEnd {
    exchange.hook_visit().identified = Identified::Nobody;
    FunctionEnd::Continue
}

struct Site {
    chain: Chain,
    fake: Arc<Fake>,
    shared: Arc<PolicyShared>,
}

impl Site {
    fn new() -> Self {
        Self::with(&oidc(&[KEY], &json!({})), &json!({"authenticators": ["oidc"], "required": true}), python)
    }

    fn open() -> Self {
        Self::with(&oidc(&[KEY], &json!({})), &json!({"authenticators": ["oidc"], "required": false}), python)
    }

    fn with(settings: &Value, policy: &Value, answer: fn(&mut Exchange) -> FunctionEnd) -> Self {
        let shared = Arc::new(PolicyShared::new(100));
        let mut all = auth(&[jwt(&secret(), &json!({})), settings.clone()]);
        all["failure_limit"] = json!({"limit": 2, "per": 60.0});
        let built = Authenticators::build(Some(&all), &shared.identity).unwrap();
        let fake = Arc::new(Fake { asked: Mutex::default(), answer, waits: true });
        built.connect(1, |_, _, keyed| {
            assert!(!keyed);
            Some(Arc::clone(&fake) as Arc<dyn IdentityFunction>)
        });
        let cors = json!({
            "origins": ["https://app.example"], "methods": ["*"], "headers": ["*"], "expose": [], "credentials": true,
            "max_age": 0.0,
        });
        let configs = BTreeMap::from([("authentication".to_owned(), policy.clone()), ("cors".to_owned(), cors)]);
        let parts = Parts { route: "r", service: "", params: &[], shared: &shared, auth: &built };
        Self { chain: Chain::build(&configs, &parts).unwrap(), fake, shared }
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

    /// Returns the user's id, empty for nobody, or the code of the rejection.
    fn ask(&self, exchange: &mut Exchange) -> Result<String, String> {
        user_or_rejection(self.verdict(exchange), exchange).map_err(|rejection| rejection.code.to_owned())
    }

    fn asked(&self) -> usize {
        self.fake.asked.lock().len()
    }
}

/// A session that began a minute ago, is looked at in five and ends in ten, with `more` on top.
fn session(more: &Value) -> Value {
    let mut members = json!({
        "i": "AAAAAAAAAAAAAAAAAAAAAA", "b": NOW - 60, "x": NOW + 600, "n": NOW + 300, "u": "ada", "e": "a@example.org",
        "r": "admin", "p": ["read"], "c": {"org": 7},
    });
    for (name, value) in more.as_object().unwrap() {
        members[name] = value.clone();
    }
    members
}

fn sealed(key: &str, purpose: &str, members: &Value) -> String {
    let plain = if let Value::String(text) = members { text.clone() } else { members.to_string() };
    Sealer::new(&[key]).unwrap().for_purpose(purpose).unwrap().seal(plain.as_bytes()).unwrap()
}

fn cookie(more: &Value) -> String {
    format!("Cookie: pylae-oidc={}", sealed(KEY, "session oidc", &session(more)))
}

fn post(fields: &[&str]) -> Exchange {
    let mut exchange = request("/", fields);
    exchange.request.head.method = pylae_http::Method::Post;
    exchange.request.host = b"h".to_vec();
    exchange.request.host_len = 1;
    exchange
}

/// The lines of `Cookie` that an instance gets.
fn forwarded(exchange: &Exchange) -> Vec<String> {
    let edits = &exchange.request.edits;
    let sent = exchange.request.values("cookie").filter(|_| !edits.removes(Name::Cookie, b"Cookie"));
    let added = edits.added().filter(|(name, _)| *name == b"Cookie").map(|(_, value)| value);
    sent.chain(added).map(|value| String::from_utf8(value.to_vec()).unwrap()).collect()
}

#[test]
fn a_session_is_a_user() {
    let site = Site::new();
    let cookie = cookie(&json!({}));
    for _ in 0..2 {
        let mut exchange = request("/", &[&cookie]);
        assert_eq!(site.ask(&mut exchange), Ok("ada".into()));
        let user = exchange.request.user.clone().unwrap();
        assert_eq!((&*user.email, &*user.role, user.via), ("a@example.org", "admin", "oidc"));
        assert_eq!((&user.permissions[..], &user.claims["org"]), (&["read".to_owned()][..], &json!(7)));
        assert_eq!(exchange.no_session(), None);
    }
    assert_eq!(site.asked(), 0);
}

#[test]
fn python_is_asked_once_it_is_time() {
    let site = Site::new();
    let cookie = cookie(&json!({}));
    for (seconds, who, asked) in
        [(299, Ok("ada"), 0), (300, Ok("asked"), 1), (301, Ok("asked"), 2), (600, Err("unauthorized"), 2)]
    {
        let mut exchange = request("/", &[&cookie]);
        exchange.times.wall += Duration::from_secs(seconds);
        let (who, found) = (who.map(str::to_owned).map_err(str::to_owned), site.ask(&mut exchange));
        // What is said holds for thirty seconds from NOW on, which is over by then.
        assert_eq!((found, site.asked()), (who, asked), "after {seconds} s");
    }
}

#[test]
fn what_python_says_holds_until_then() {
    let site = Site::new();
    let full =
        format!("Cookie: pylae-oidc={}", sealed(KEY, "session oidc", &session(&json!({"f": true, "x": NOW + 20}))));
    for (seconds, asked) in [(0, 1), (19, 1)] {
        let mut exchange = request("/", &[&full]);
        exchange.times.wall += Duration::from_secs(seconds);
        assert_eq!((site.ask(&mut exchange), site.asked()), (Ok("asked".into()), asked), "after {seconds} s");
    }
    let mut over = request("/", &[&full]);
    over.times.wall += Duration::from_secs(20);
    assert_eq!(site.ask(&mut over), Err("unauthorized".into()));
    assert_eq!(over.no_session(), Some(NoSession::Expired));
    assert_eq!(site.asked(), 1);
}

#[test]
fn a_session_that_python_ends_is_none() {
    let policy = json!({"authenticators": ["oidc"], "required": false});
    let site = Site::with(&oidc(&[KEY], &json!({})), &policy, nobody);
    let mut exchange = request("/", &[&cookie(&json!({"n": NOW}))]);
    assert_eq!(site.ask(&mut exchange), Ok(String::new()));
    assert_eq!(exchange.no_session(), Some(NoSession::Ended));
}

#[test]
fn an_answer_with_fields_is_not_remembered() {
    let policy = json!({"authenticators": ["oidc"], "required": true});
    let site = Site::with(&oidc(&[KEY], &json!({})), &policy, |exchange| {
        exchange.hook_visit().fields.append(b"Set-Cookie", b"pylae-oidc=new").unwrap();
        python(exchange)
    });
    let cookie = cookie(&json!({"n": NOW}));
    for asked in 1..3 {
        let mut exchange = request("/", &[&cookie]);
        assert_eq!(site.ask(&mut exchange), Ok("asked".into()));
        let fields: Vec<_> = exchange.hook_visit().fields.added().map(|(_, value)| value.to_vec()).collect();
        assert_eq!((fields, site.asked()), (vec![b"pylae-oidc=new".to_vec()], asked));
    }
}

#[test]
fn bad_cookies_are_none_and_told_apart() {
    let good = sealed(KEY, "session oidc", &session(&json!({})));
    let big = session(&json!({"c": {"x": "y".repeat(800)}}));
    let several = format!("pylae-oidc={good}; pylae-oidc={good}");
    let cases = [
        (several, NoSession::Several),
        ("pylae-oidc=".to_owned(), NoSession::Malformed),
        ("pylae-oidc=v1.AAAA".to_owned(), NoSession::Malformed),
        (format!("pylae-oidc={}", &good[1..]), NoSession::Malformed),
        (
            format!("pylae-oidc={}{}{}", &good[..40], if &good[40..41] == "A" { "B" } else { "A" }, &good[41..]),
            NoSession::Forged,
        ),
        (format!("pylae-oidc={}", sealed(KEY, "session other", &session(&json!({})))), NoSession::Forged),
        (format!("pylae-oidc={}", sealed(KEY, "attempt oidc", &session(&json!({})))), NoSession::Forged),
        (format!("pylae-oidc={}", sealed(OTHER, "session oidc", &session(&json!({})))), NoSession::UnknownKey),
        (format!("pylae-oidc={}", sealed(KEY, "session oidc", &big)), NoSession::Malformed),
        (format!("pylae-oidc={}", sealed(KEY, "session oidc", &json!([1, 2]))), NoSession::Malformed),
        (format!("pylae-oidc={}", sealed(KEY, "session oidc", &json!("{}"))), NoSession::Malformed),
        (format!("pylae-oidc={}", sealed(KEY, "session oidc", &json!("no JSON"))), NoSession::Malformed),
    ];
    let members = [
        (json!({"x": NOW}), NoSession::Expired),
        (json!({"x": NOW - 1, "f": true}), NoSession::Expired),
        (json!({"u": ""}), NoSession::Malformed),
        (json!({"u": "a\nb"}), NoSession::Malformed),
        (json!({"i": ""}), NoSession::Malformed),
        (json!({"i": "a b"}), NoSession::Malformed),
        (json!({"n": -1}), NoSession::Malformed),
        (json!({"x": "soon"}), NoSession::Malformed),
        (json!({"p": "read"}), NoSession::Malformed),
    ];
    let members = members.map(|(more, why)| (cookie(&more)["Cookie: ".len()..].to_owned(), why));
    for (sent, why) in cases.into_iter().chain(members) {
        let (site, open) = (Site::new(), Site::open());
        let line = format!("Cookie: {sent}");
        let mut exchange = request("/", &[&line]);
        let Verdict::Reject(rejection) = site.verdict(&mut exchange) else { panic!("{sent}: let in") };
        assert_eq!((rejection.status, &*rejection.message), (401, "authentication is required"), "{sent}");
        assert_eq!(exchange.no_session(), Some(why), "{sent}");
        let counted: Vec<_> = site.shared.identity.no_sessions().into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(why.name(), 1)]);
        assert_eq!(open.ask(&mut request("/", &[&line])), Ok(String::new()), "{sent}");
        assert_eq!(site.asked() + open.asked(), 0);
        // However often it comes, it is no failed authentication.
        for _ in 0..5 {
            assert_eq!(site.ask(&mut request("/", &[&line])), Err("unauthorized".into()));
        }
    }
}

#[test]
fn secrets_are_replaced_one_by_one() {
    let policy = json!({"authenticators": ["oidc"], "required": true});
    let site = Site::with(&oidc(&[OTHER, KEY], &json!({})), &policy, python);
    assert_eq!(site.ask(&mut request("/", &[&cookie(&json!({}))])), Ok("ada".into()));
}

#[test]
fn a_revocation_ends_a_session_at_once() {
    let revoke = |site: &Site, what| {
        assert!(site.shared.identity.revoke(what, clocks(Duration::from_secs(NOW)), Duration::from_secs(60)));
    };
    for what in [Revoked::Token("AAAAAAAAAAAAAAAAAAAAAA"), Revoked::User("ada")] {
        for more in [json!({}), json!({"f": true}), json!({"n": NOW})] {
            let (site, cookie) = (Site::new(), cookie(&more));
            assert!(site.ask(&mut request("/", &[&cookie])).is_ok());
            revoke(&site, what);
            let mut exchange = request("/", &[&cookie]);
            // Where Python says who it is, that is somebody else here.
            let stays = matches!(what, Revoked::User(_)) && more != json!({});
            assert_eq!(site.ask(&mut exchange).is_ok(), stays, "{what:?} {more}");
            assert_eq!(exchange.no_session(), (!stays).then_some(NoSession::Revoked));
        }
    }
    let site = Site::new();
    revoke(&site, Revoked::User("asked"));
    assert_eq!(site.ask(&mut request("/", &[&cookie(&json!({"f": true}))])), Err("unauthorized".into()));
    // A session that began later counts.
    revoke(&site, Revoked::User("ada"));
    let mut later = request("/", &[&cookie(&json!({"b": NOW + 5}))]);
    later.times.wall += Duration::from_secs(6);
    assert_eq!(site.ask(&mut later), Ok("ada".into()));
}

#[test]
fn navigations_are_invited_and_programs_refused() {
    let site = Site::new();
    let page = "Accept: text/html";
    for (fields, invited) in [
        (vec![page], true),
        (vec![page, "Cookie: pylae-oidc=v1.bad"], true),
        (vec![page, "X-Requested-With: XMLHttpRequest"], false),
        (vec!["Accept: application/json"], false),
        (vec!["Sec-Fetch-Mode: cors", page], false),
        // It has tried something else.
        (vec![page, "Authorization: Bearer bad"], true),
    ] {
        let mut exchange = request("/", &fields);
        match site.verdict(&mut exchange) {
            Verdict::Answer(answer) if invited => {
                assert_eq!(answer.status, 302);
                assert!(exchange.hook_visit().fields.get(b"Set-Cookie").is_some());
            }
            Verdict::Reject(rejection) if !invited => {
                let challenge = ("WWW-Authenticate".into(), "Cookie realm=\"test\"".to_owned());
                assert_eq!((rejection.status, &rejection.headers[..]), (401, &[challenge][..]));
            }
            _ => panic!("{fields:?}"),
        }
    }
    assert_eq!(Site::open().ask(&mut request("/", &[page])), Ok(String::new()));
    let policy = json!({"authenticators": ["jwt", "oidc"], "required": true});
    let both = Site::with(&oidc(&[KEY], &json!({})), &policy, python);
    assert_eq!(both.ask(&mut request("/", &[page, "Authorization: Bearer bad"])), Err("unauthorized".into()));
    assert!(matches!(both.verdict(&mut request("/", &[page])), Verdict::Answer(_)));
    let silent = Site::with(&oidc(&[KEY], &json!({})), &policy, nobody);
    assert_eq!(silent.ask(&mut request("/", &[page])), Err("unauthorized".into()));
}

#[test]
fn other_sites_cannot_use_a_session() {
    for (site, more) in [(Site::new(), json!({})), (Site::open(), json!({})), (Site::new(), json!({"n": NOW}))] {
        let cookie = cookie(&more);
        let who = if more == json!({}) { "ada" } else { "asked" };
        for (field, passes) in [
            ("Sec-Fetch-Site: same-origin", true),
            ("Sec-Fetch-Site: none", true),
            ("Sec-Fetch-Site: same-site", false),
            ("Sec-Fetch-Site: cross-site", false),
            ("Origin: http://h", true),
            ("Origin: http://evil.example", false),
            ("Origin: https://app.example", true),
            ("X-Other: 1", false),
        ] {
            let expected = if passes { Ok(who.to_owned()) } else { Err("cross_site_request".to_owned()) };
            assert_eq!(site.ask(&mut post(&[&cookie, field])), expected, "{field}");
            assert_eq!(site.ask(&mut request("/", &[&cookie, field])), Ok(who.into()), "{field}");
            let mut handshake = request("/", &[&cookie, field]);
            handshake.request.upgrades = true;
            (handshake.request.host, handshake.request.host_len) = (b"h".to_vec(), 1);
            assert_eq!(site.ask(&mut handshake), expected, "{field}");
        }
    }
    // Without a session nothing is sent in anybody's name, and a token is sent by no browser on its own.
    let site = Site::open();
    assert_eq!(site.ask(&mut post(&["Cookie: other=1", "Origin: http://evil.example"])), Ok(String::new()));
    assert_eq!(site.ask(&mut post(&["Cookie: pylae-oidc=bad", "Origin: http://evil.example"])), Ok(String::new()));
    let policy = json!({"authenticators": ["jwt", "oidc"], "required": true});
    let both = Site::with(&oidc(&[KEY], &json!({})), &policy, python);
    let bearer = format!("Authorization: Bearer {}", token(&json!({"sub": "t", "exp": NOW + 60})));
    let sent = [&*bearer, &cookie(&json!({})), "Origin: http://evil.example"];
    assert_eq!(both.ask(&mut post(&sent)), Ok("t".into()));
}

#[test]
fn instances_see_no_session_and_no_attempt() {
    let strips = json!({"authenticators": [], "required": false});
    let site = Site::with(&oidc(&[KEY], &json!({})), &strips, python);
    for (sent, kept) in [
        (&["Cookie: a=1; pylae-oidc=x; b=\"2\";c"][..], &["a=1; b=\"2\";c"][..]),
        (&["Cookie: pylae-oidc=x;  a=1"], &["a=1"]),
        (&["Cookie: a=1;b=2 ; pylae-oidc=x"], &["a=1;b=2"]),
        (&["Cookie: pylae-oidc=x; __Host-pylae-oidc=y; pylae-oidc-attempt-AbCd=z"], &[]),
        (&["Cookie: __Host-pylae-oidc-attempt-AbCd=z; d=4"], &["d=4"]),
        (&["Cookie: pylae-oidc=x", "Cookie: a=1", "Cookie: b=2; pylae-oidc=y"], &["a=1", "b=2"]),
        (&["Cookie: a=1", "Cookie: pylae-oidc"], &["a=1"]),
        (
            &["Cookie: pylae-oidc2=1; xpylae-oidc=2; pylae-oidc-other=3"],
            &["pylae-oidc2=1; xpylae-oidc=2; pylae-oidc-other=3"],
        ),
        (&["Cookie:  a = 1 ;; pylae-oidc =x;e=pylae-oidc=5"], &["a = 1 ;;e=pylae-oidc=5"]),
        (&["X-Other: pylae-oidc=1"], &[]),
    ] {
        let mut exchange = request("/", sent);
        assert_eq!(site.ask(&mut exchange), Ok(String::new()));
        assert_eq!(forwarded(&exchange), kept, "{sent:?}");
    }
    // What an early hook has made of them.
    let mut exchange = request("/", &["Cookie: a=1; pylae-oidc=x"]);
    exchange.request.edits.set(b"cookie", b"b=2; pylae-oidc=x").unwrap();
    assert_eq!(site.ask(&mut exchange), Ok(String::new()));
    assert_eq!(forwarded(&exchange), ["b=2"]);
}

#[test]
fn https_has_a_cookie_of_its_own() {
    let site = Site::new();
    let value = sealed(KEY, "session oidc", &session(&json!({})));
    for (secure, name, known) in [
        (false, "pylae-oidc", true),
        (true, "pylae-oidc", false),
        (false, "__Host-pylae-oidc", false),
        (true, "__Host-pylae-oidc", true),
    ] {
        let mut exchange = request("/", &[&format!("Cookie: {name}={value}")]);
        exchange.request.origin.secure = secure;
        assert_eq!(site.ask(&mut exchange).is_ok(), known, "{name} {secure}");
    }
    let mut behind = request("/", &[&format!("Cookie: __Host-pylae-oidc={value}"), "X-Forwarded-Proto: https"]);
    assert!(site.ask(&mut behind).is_err());
    behind.request.origin.peer_trusted = true;
    assert!(site.ask(&mut behind).is_ok());
}

#[test]
fn an_explanation_asks_nobody() {
    let site = Site::new();
    let preview = |site: &Site, exchange: &mut Exchange| site.chain.preview(exchange).pop().unwrap().1;
    for (exchange, expected) in [
        (&mut request("/", &[&cookie(&json!({}))]), "oidc lets user ada (admin) pass"),
        (&mut request("/", &[&cookie(&json!({"n": NOW}))]), "cannot be told: oidc: whose session it is"),
        (&mut request("/", &[&cookie(&json!({"x": NOW}))]), "401: oidc: no session (expired)"),
        (&mut request("/", &["Accept: text/html"]), "302: oidc begins a login"),
        (&mut request("/", &["Accept: text/html", "Cookie: pylae-oidc=x"]), "302: oidc begins a login"),
        (&mut request("/", &[]), "401: no credential for oidc"),
        (&mut post(&[&cookie(&json!({}))]), "403: oidc: a page of another site"),
    ] {
        let found = preview(&site, exchange);
        assert!(found.starts_with(expected), "{found}");
    }
    assert_eq!(site.asked(), 0);
    let policy = json!({"authenticators": ["oidc"], "required": true});
    let checked = Site::with(&oidc(&[], &json!({})), &policy, python);
    let found = preview(&checked, &mut request("/", &[&cookie(&json!({}))]));
    assert!(found.starts_with("cannot be told: oidc: only the running gateway"), "{found}");
}

#[test]
fn wrong_settings_are_told() {
    let shared = PolicyShared::new(1);
    for (settings, path) in [
        (oidc(&["short"], &json!({})), "authenticators[0].secrets"),
        (oidc(&[KEY], &json!({"cookies": {"http": "a b", "https": "c"}})), "authenticators[0].cookies.http"),
        (oidc(&[KEY], &json!({"cookies": {"http": "a", "https": ""}})), "authenticators[0].cookies.https"),
    ] {
        let Err(problems) = Authenticators::build(Some(&auth(&[settings])), &shared.identity) else {
            panic!("{path} was accepted");
        };
        assert!(problems.iter().any(|problem| problem.path == path), "{path}: {problems:?}");
    }
}
