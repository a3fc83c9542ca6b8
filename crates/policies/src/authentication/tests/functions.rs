//! Functions that say who the client is: what they see, and what is remembered.

use parking_lot::Mutex;
use proptest::prelude::*;
use pylae_core::connection::certificate::Certificate;
use pylae_core::hook::Identified;
use pylae_core::{Answer, User};

use super::super::credential::{CredentialPart, SentCredentials};
use super::super::{AskedFunction, FunctionEnd, FunctionResult, IdentityFunction};
use super::*;

/// Answers by the request that it sees, and keeps what it was asked.
pub(super) struct Fake {
    pub(super) asked: Mutex<Vec<String>>,
    pub(super) answer: fn(&mut Exchange) -> FunctionEnd,
    /// Whether it takes a moment.
    pub(super) waits: bool,
}

impl IdentityFunction for Fake {
    fn ask(&self, mut exchange: Box<Exchange>) -> AskedFunction {
        self.asked.lock().push(String::from_utf8_lossy(&exchange.request.buffer).into_owned());
        let end = (self.answer)(&mut exchange);
        let result = Box::new(FunctionResult { exchange, end });
        if self.waits { AskedFunction::Pending(Box::pin(async { result })) } else { AskedFunction::Ended(result) }
    }
}

/// Knows the user whose name stands in `X-Token`.
fn by_name(exchange: &mut Exchange) -> FunctionEnd {
    let name = exchange.request.values("x-token").next().unwrap_or_default();
    let name = String::from_utf8_lossy(name).into_owned();
    exchange.hook_visit().identified = match name.as_str() {
        "" | "nobody" => Identified::Nobody,
        "broken" => Identified::Unasked,
        _ => Identified::User(Arc::new(User { id: name, via: "hook", ..User::default() })),
    };
    FunctionEnd::Continue
}

pub(super) fn function(more: &Value) -> Value {
    let call = json!({
        "hook": 0, "name": "f", "on": "authenticate", "run": "worker", "timeout": 5.0, "on_error": "fail",
        "body": null, "budget": null, "error_body": null, "malformed": false,
    });
    let mut settings = json!({
        "kind": "function", "name": "f", "via": "function", "challenge": "F", "key": ["header:X-Token"], "cache": 60.0,
        "forward_credentials": true, "call": call,
    });
    for (name, value) in more.as_object().unwrap() {
        settings[name] = value.clone();
    }
    settings
}

/// A chain with an authenticator that asks a function.
struct Asking {
    chain: Chain,
    fake: Arc<Fake>,
    shared: Arc<PolicyShared>,
}

impl Asking {
    fn new(more: &Value, waits: bool, answer: fn(&mut Exchange) -> FunctionEnd) -> Self {
        Self::beside(&Arc::new(PolicyShared::new(100)), 1, more, waits, answer)
    }

    fn beside(
        shared: &Arc<PolicyShared>,
        revision: u64,
        more: &Value,
        waits: bool,
        answer: fn(&mut Exchange) -> FunctionEnd,
    ) -> Self {
        let config = auth(&[function(more)]);
        let built = Authenticators::build(Some(&config), &shared.identity).unwrap();
        let fake = Arc::new(Fake { asked: Mutex::default(), answer, waits });
        built.connect(revision, |_, call, _| {
            assert_eq!(call.name, "f");
            Some(Arc::clone(&fake) as Arc<dyn IdentityFunction>)
        });
        let configs =
            BTreeMap::from([("authentication".to_owned(), json!({"authenticators": ["f"], "required": true}))]);
        let parts = Parts { route: "r", service: "", params: &[], shared, auth: &built };
        Self { chain: Chain::build(&configs, &parts).unwrap(), fake, shared: Arc::clone(shared) }
    }

    fn ask(&self, exchange: &mut Exchange) -> Result<String, String> {
        let mut verdict = self.chain.request(exchange);
        while let Verdict::Wait(mut waiting) = verdict {
            let Poll::Ready(resume) = poll(waiting.as_mut()) else { panic!("it waits for nothing") };
            verdict = self.chain.resume(exchange, resume);
        }
        user_or_rejection(verdict, exchange).map_err(|rejection| rejection.message.into_owned())
    }

    fn asked(&self) -> usize {
        self.fake.asked.lock().len()
    }
}

#[test]
fn what_it_says_is_remembered_for_a_while() {
    for waits in [false, true] {
        let asking = Asking::new(&json!({}), waits, by_name);
        for path in ["/", "/other?x=1"] {
            assert_eq!(asking.ask(&mut request(path, &["X-Token: ada"])), Ok("ada".into()));
            assert_eq!(
                asking.ask(&mut request(path, &["X-Token: nobody"])),
                Err("the credential belongs to no known user".into())
            );
        }
        assert_eq!(asking.asked(), 2);
        let mut later = request("/", &["X-Token: ada"]);
        later.times.wall += Duration::from_secs(61);
        assert_eq!(asking.ask(&mut later), Ok("ada".into()));
        assert_eq!(later.request.user.unwrap().via, "function");
        assert_eq!(asking.asked(), 3);
    }
}

#[test]
fn it_is_remembered_no_longer_than_the_function_says() {
    let asking = Asking::new(&json!({}), false, |exchange| {
        exchange.hook_visit().identified_until = Some(exchange.times.wall + Duration::from_secs(10));
        by_name(exchange)
    });
    for (name, seconds, asked) in [("ada", 0, 1), ("ada", 9, 1), ("ada", 10, 2), ("nobody", 0, 3), ("nobody", 10, 4)] {
        let mut later = request("/", &[&format!("X-Token: {name}")]);
        later.times.wall += Duration::from_secs(seconds);
        let _ = asking.ask(&mut later);
        assert_eq!(asking.asked(), asked, "{name} after {seconds} s");
    }
}

#[test]
fn a_failure_and_fields_are_not_remembered() {
    let asking = Asking::new(&json!({}), true, by_name);
    for _ in 0..2 {
        assert_eq!(asking.ask(&mut request("/", &["X-Token: broken"])), Err("authentication is required".into()));
    }
    assert_eq!(asking.asked(), 2);
    let asking = Asking::new(&json!({}), true, |exchange| {
        exchange.hook_visit().fields.append(b"Set-Cookie", b"a=1").unwrap();
        by_name(exchange)
    });
    for asked in 1..3 {
        let mut exchange = request("/", &["X-Token: ada"]);
        assert_eq!(asking.ask(&mut exchange), Ok("ada".into()));
        let fields: Vec<_> = exchange.hook_visit().fields.added().map(|(name, _)| name.to_vec()).collect();
        assert_eq!((fields, asking.asked()), (vec![b"Set-Cookie".to_vec()], asked));
    }
}

#[test]
fn another_configuration_another_authenticator_and_a_revocation_ask_again() {
    let shared = Arc::new(PolicyShared::new(100));
    let at = |revision, more: &Value| Asking::beside(&shared, revision, more, false, by_name);
    let asking = at(1, &json!({}));
    let ask = |asking: &Asking| asking.ask(&mut request("/", &["X-Token: ada"])).is_ok();
    assert!(ask(&asking) && ask(&asking));
    assert_eq!(asking.asked(), 1);
    for (other, asked) in [(at(1, &json!({})), 0), (at(2, &json!({})), 1), (at(1, &json!({"challenge": "G"})), 1)] {
        assert!(ask(&other));
        assert_eq!(other.asked(), asked);
    }
    assert!(asking.shared.identity.revoke(
        Revoked::User("ada"),
        clocks(Duration::from_secs(NOW)),
        Duration::from_secs(9)
    ));
    assert_eq!(asking.ask(&mut request("/", &["X-Token: ada"])), Err("the user was revoked".into()));
    assert_eq!(asking.asked(), 2);
}

#[test]
fn a_session_that_began_after_the_revocation_counts() {
    let asking = Asking::new(&json!({}), false, |exchange| {
        let end = by_name(exchange);
        if let Identified::User(user) = &mut exchange.hook_visit().identified {
            Arc::make_mut(user).claims.insert("iat".into(), json!(NOW + 5));
        }
        end
    });
    assert!(asking.shared.identity.revoke(
        Revoked::User("ada"),
        clocks(Duration::from_secs(NOW)),
        Duration::from_secs(60)
    ));
    let mut exchange = request("/", &["X-Token: ada"]);
    exchange.times.wall += Duration::from_secs(6);
    assert_eq!(asking.ask(&mut exchange), Ok("ada".into()));
}

#[test]
fn it_may_answer_and_refuse() {
    let rejection = |status| Box::new(Rejection { status, code: "x", message: "no".into(), headers: Vec::new() });
    let answering = Asking::new(&json!({"key": null, "cache": null}), false, |_| {
        FunctionEnd::Answer(Box::new(Answer { status: 302, headers: Vec::new(), body: Arc::default() }))
    });
    let verdict = answering.chain.request(&mut request("/", &[]));
    assert!(matches!(verdict, Verdict::Answer(answer) if answer.status == 302));
    let refusing = Asking::new(&json!({"key": null, "cache": null}), false, |_| {
        let rejection = Rejection { status: 401, code: "x", message: "no".into(), headers: Vec::new() };
        FunctionEnd::Reject(Box::new(rejection))
    });
    let Verdict::Reject(refused) = refusing.chain.request(&mut request("/", &[])) else { panic!("it passed") };
    let headers = vec![("WWW-Authenticate".into(), "F realm=\"test\"".to_owned())];
    assert_eq!(*refused, Rejection { headers, ..*rejection(401) });
}

#[test]
fn wrong_settings_are_told() {
    let shared = PolicyShared::new(1);
    for (more, path) in [
        (json!({"key": null}), "authenticators[0].cache"),
        (json!({"key": []}), "authenticators[0].key"),
        (json!({"key": ["path"]}), ""),
        (
            json!({"via": {"forward_auth": {"copy": ["x y"], "reserved": []}}}),
            "authenticators[0].via.forward_auth.copy[0]",
        ),
        (
            json!({"via": {"forward_auth": {"copy": ["Host"], "reserved": []}}}),
            "authenticators[0].via.forward_auth.copy[0]",
        ),
    ] {
        let Err(problems) = Authenticators::build(Some(&auth(&[function(&more)])), &shared.identity) else {
            panic!("{more} was accepted");
        };
        assert!(problems.iter().any(|problem| problem.path == path), "{path}: {problems:?}");
    }
}

#[test]
fn what_is_no_credential_is_not_there() {
    let parts: Vec<CredentialPart> = ["header:X-Token", "query:k", "cookie:sid", "client_certificate"]
        .map(|part| part.to_owned().try_into().unwrap())
        .into();
    assert!(!SentCredentials::of(&request("/p?a=k&kk=1", &["Cookie: asid=1; sid2=2", "X-Tok: 1"]), &parts).present);
    let fields = ["X-Token: a", "Cookie: sid=1; b=2; sid=3", "x-token: b", "Authorization: Bearer t"];
    let mut exchange = request("/p?a=1&%6b=2&k=3", &fields);
    exchange.request.origin.certificate = Some(Arc::new(Certificate::default()));
    let masked = SentCredentials::of(&exchange, &parts).request(&exchange).unwrap();
    let head = "GET /?%6b=2&k=3 HTTP/1.1\r\nx-token: a\r\nx-token: b\r\ncookie: sid=1; sid=3\r\n\r\n";
    assert_eq!(String::from_utf8_lossy(&masked.request.buffer), head);
    assert_eq!(masked.request.query(), Some(&b"%6b=2&k=3"[..]));
    assert!(masked.request.origin.certificate.is_some());
    // What is taken away for instances is there.
    exchange.request.edits.remove(b"X-Token");
    let masked = SentCredentials::of(&exchange, &parts).request(&exchange).unwrap();
    assert_eq!(masked.request.values("x-token").count(), 2);
}

#[test]
fn what_nobody_can_be_believed_is_not_asked_about() {
    let parts: Vec<CredentialPart> = ["header:X-User-ID", "header:X-Forwarded-For", "header:X-Forwarded-Foo"]
        .map(|part| part.to_owned().try_into().unwrap())
        .into();
    let fields = ["X-User-ID: root", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Foo: 1"];
    let mut exchange = request("/", &fields);
    assert!(!SentCredentials::of(&exchange, &parts).present);
    exchange.request.origin.peer_trusted = true;
    let masked = SentCredentials::of(&exchange, &parts).request(&exchange).unwrap();
    let sent = |name| masked.request.values(name).count();
    assert_eq!((sent("x-user-id"), sent("x-forwarded-for"), sent("x-forwarded-foo")), (0, 1, 1));
    assert!(masked.request.origin.peer_trusted);
}

fn sent() -> impl Strategy<Value = (Vec<String>, Vec<String>, Vec<String>)> {
    let text = || proptest::collection::vec("[ -+\\--:<-~]{0,3}", 0..3);
    let word = || proptest::collection::vec("[a-z=%+]{0,3}", 0..3);
    (text(), word(), word())
}

fn exchange_of((headers, query, cookies): &(Vec<String>, Vec<String>, Vec<String>)) -> Exchange {
    let query: Vec<String> = query.iter().map(|value| format!("k={value}")).collect();
    let mut fields: Vec<String> = headers.iter().map(|value| format!("X-Token: {}", value.trim())).collect();
    fields.extend(cookies.iter().map(|value| format!("Cookie: sid={value}")));
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    request(&format!("/p?{}", query.join("&")), &fields)
}

proptest! {
    /// Other credentials are another question, and every question is a request.
    #[test]
    fn credentials_are_told_apart(one in sent(), other in sent()) {
        let parts: Vec<CredentialPart> =
            ["header:X-Token", "query:k", "cookie:sid"].map(|part| part.to_owned().try_into().unwrap()).into();
        let trimmed = |(headers, query, cookies): &(Vec<String>, Vec<String>, Vec<String>)| {
            let headers: Vec<String> = headers.iter().map(|value| value.trim().to_owned()).collect();
            (headers, query.clone(), cookies.clone())
        };
        let (first, second) = (exchange_of(&one), exchange_of(&other));
        let (found, others) = (SentCredentials::of(&first, &parts), SentCredentials::of(&second, &parts));
        prop_assert_eq!(found.identity() == others.identity(), trimmed(&one) == trimmed(&other));
        if found.present {
            let masked = found.request(&first).unwrap();
            let tokens = |of: &Exchange| of.request.values("x-token").map(<[u8]>::to_vec).collect::<Vec<_>>();
            prop_assert_eq!(tokens(&masked), tokens(&first));
            prop_assert_eq!(masked.request.head.fields.has(pylae_http::Name::Host), false);
        }
    }
}
