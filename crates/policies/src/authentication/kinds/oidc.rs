//! Logins at `OpenID` providers: sessions in sealed cookies. Whatever asks the provider is in `pylae.identity.oidc`.

mod session;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pylae_core::hook::{AskedFor, HookCall, Identified};
use pylae_core::request::session::NoSession;
use pylae_core::request::session::sealer::{PurposeSealer, Sealer};
use pylae_core::request::{cookie, fetch};
use pylae_core::{Answer, Exchange, Problem, Rejection, User, location};
use pylae_http::Name;
use serde::Deserialize;

use self::session::{LoginSession, VIA};
use crate::authentication::asked::{self, FunctionEnd, IdentityFunction, Said};
use crate::authentication::authenticator::AuthenticatorKind;
use crate::authentication::credential::strip_cookies;
use crate::authentication::identity::Identity;
use crate::authentication::memory::{CredentialTag, KnownCredential, VerifiedCredential};
use crate::authentication::outcome::{AuthenticatorOutcome, Moment, Refusal};

const NOT_ASKED: &str = "whose session it is, is asked about real requests only";
const NOT_OPENED: &str = "only the running gateway has the secret that opens its cookie";
/// Between the name of the session cookie and the rest of the name of an attempt's.
const ATTEMPT: &[u8] = b"-attempt-";

/// What the plan says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Name by which routes refer to it.
    name: String,
    /// Secrets that open its cookies. None in a plan that is only looked at.
    secrets: Vec<String>,
    cookies: CookieNames,
    /// The origin under which browsers reach the gateway; None for that of each request.
    origin: Option<String>,
    /// What asks the provider.
    call: HookCall,
}

/// The name of the session cookie, by the scheme that the browser uses.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CookieNames {
    http: String,
    https: String,
}

/// The authenticator.
pub(crate) struct Oidc(Arc<OidcRules>);

struct OidcRules {
    config: Config,
    /// None without secrets.
    sealer: Option<PurposeSealer>,
    /// Separates its cookies from other credentials that are remembered.
    salt: u64,
    function: OnceLock<Arc<dyn IdentityFunction>>,
    identity: Arc<Identity>,
}

/// The session cookie of a request.
enum SentCookie<'e> {
    None,
    One(&'e [u8]),
    Several,
}

impl AuthenticatorKind for Oidc {
    type Config = Config;

    fn build(config: Config, identity: &Arc<Identity>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        for (scheme, name) in [("http", &config.cookies.http), ("https", &config.cookies.https)] {
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && !b"=;,\"\\".contains(&byte)) {
                problems.push(Problem::at(format!("cookies.{scheme}"), "is not the name of a cookie"));
            }
        }
        let sealer = (!config.secrets.is_empty()).then(|| {
            let sealer = Sealer::new(&config.secrets)?;
            sealer.for_purpose(&format!("session {}", config.name))
        });
        let sealer = sealer.transpose().map_err(|why| problems.push(Problem::at("secrets", why.to_string()))).ok();
        let Some(sealer) = sealer.filter(|_| problems.is_empty()) else { return Err(problems) };
        let salt = identity.memory.salt(&format!("oidc {} {:?}", config.name, config.secrets));
        let (function, identity) = (OnceLock::new(), Arc::clone(identity));
        Ok(Self(Arc::new(OidcRules { config, sealer, salt, function, identity })))
    }

    fn name(&self) -> Option<&str> {
        Some(&self.0.config.name)
    }

    // The scheme is not registered, but a 401 must name one.
    fn challenge(&self, realm: &str) -> String {
        format!("Cookie realm=\"{realm}\"")
    }

    /// A bad cookie never counts as a failed authentication: guessing one is hopeless, and the clients behind one
    /// address may all have old ones.
    #[inline]
    fn authenticate(&self, exchange: &Exchange, _: impl FnOnce() -> Option<Duration>) -> AuthenticatorOutcome {
        if !exchange.request.head.fields.has(Name::Cookie) {
            return AuthenticatorOutcome::Absent;
        }
        match self.0.sent(exchange) {
            SentCookie::None => AuthenticatorOutcome::Absent,
            SentCookie::One(cookie) => self.0.authenticate(exchange, cookie),
            SentCookie::Several => AuthenticatorOutcome::NoSession(NoSession::Several),
        }
    }

    /// What is known without asking Python.
    fn preview(&self, exchange: &Exchange) -> AuthenticatorOutcome {
        let rules = &self.0;
        let unchecked = |why| AuthenticatorOutcome::Refused(Refusal::Unchecked(why));
        let cookie = match rules.sent(exchange) {
            SentCookie::None => return AuthenticatorOutcome::Absent,
            SentCookie::One(cookie) => cookie,
            SentCookie::Several => return AuthenticatorOutcome::NoSession(NoSession::Several),
        };
        let Some(sealer) = &rules.sealer else { return unchecked(NOT_OPENED) };
        let at = Moment::of(exchange);
        match LoginSession::open(sealer, cookie, at.wall) {
            Err(why) => AuthenticatorOutcome::NoSession(why),
            Ok(session) if rules.is_revoked(&session, session.user.as_deref(), at) => {
                AuthenticatorOutcome::NoSession(NoSession::Revoked)
            }
            Ok(_) if rules.is_cross_site(exchange) => cross_site(),
            Ok(LoginSession { user: Some(user), check, .. }) if at.wall < check => AuthenticatorOutcome::Accepted(user),
            Ok(_) => unchecked(NOT_ASKED),
        }
    }

    fn strip_credential(&self, exchange: &mut Exchange) {
        if exchange.request.head.fields.has(Name::Cookie) || exchange.request.edits.get(b"Cookie").is_some() {
            strip_cookies(exchange, |name| self.0.is_own(name));
        }
    }

    fn call(&self) -> Option<(&HookCall, bool)> {
        Some((&self.0.config.call, false))
    }

    fn connect(&self, function: Arc<dyn IdentityFunction>, _revision: u64) {
        let _ = self.0.function.set(function);
    }

    fn invites(&self) -> bool {
        true
    }

    fn invite(&self, exchange: &Exchange) -> AuthenticatorOutcome {
        let Some(function) = self.0.function.get() else {
            // Only the status is asked for, by those that decide without a running gateway.
            return AuthenticatorOutcome::Answered(Box::new(Answer {
                status: 302,
                headers: Vec::new(),
                body: Arc::default(),
            }));
        };
        let mut request = exchange.copy_request();
        request.hook_visit().asked_for = Some(AskedFor::Login);
        asked::ask(&**function, request, |Said { end, fields, .. }| end.outcome().with_fields(fields))
    }
}

impl OidcRules {
    /// Judges the only session cookie of a request.
    fn authenticate(self: &Arc<Self>, exchange: &Exchange, cookie: &[u8]) -> AuthenticatorOutcome {
        let (at, memory) = (Moment::of(exchange), &self.identity.memory);
        let tag = memory.tag(self.salt, cookie);
        if let Some(KnownCredential { user, .. }) = memory.get(tag, at.wall) {
            return if self.is_cross_site(exchange) { cross_site() } else { AuthenticatorOutcome::Accepted(user) };
        }
        let epoch = memory.epoch();
        let opened = match &self.sealer {
            Some(sealer) => LoginSession::open(sealer, cookie, at.wall),
            None => Err(NoSession::UnknownKey),
        };
        let session = match opened {
            Ok(session) if self.is_revoked(&session, session.user.as_deref(), at) => {
                return AuthenticatorOutcome::NoSession(NoSession::Revoked);
            }
            Ok(session) => session,
            Err(why) => return AuthenticatorOutcome::NoSession(why),
        };
        if self.is_cross_site(exchange) {
            return cross_site();
        }
        let remembered = RememberedSession { tag, epoch, bytes: cookie.len() };
        match &session.user {
            Some(user) if at.wall < session.check => {
                let user = Arc::clone(user);
                self.remember(&session, remembered, &user, session.check);
                AuthenticatorOutcome::Accepted(user)
            }
            _ => self.check(exchange, session, remembered),
        }
    }

    /// Asks Python whose session it is.
    fn check(
        self: &Arc<Self>,
        exchange: &Exchange,
        session: LoginSession,
        remembered: RememberedSession,
    ) -> AuthenticatorOutcome {
        let Some(function) = self.function.get() else {
            return AuthenticatorOutcome::Refused(Refusal::Unchecked(NOT_ASKED));
        };
        let mut request = exchange.copy_request();
        request.hook_visit().asked_for = Some(AskedFor::Check);
        let (rules, at) = (Arc::clone(self), Moment::of(exchange));
        asked::ask(&**function, request, move |said| rules.conclude(&session, remembered, said, at))
    }

    /// Turns what Python has said of a session into an outcome.
    fn conclude(
        &self,
        session: &LoginSession,
        remembered: RememberedSession,
        said: Said,
        at: Moment,
    ) -> AuthenticatorOutcome {
        let Said { end, identified, until, fields } = said;
        let outcome = match (end, identified) {
            (FunctionEnd::Continue, Identified::Nobody) => AuthenticatorOutcome::NoSession(NoSession::Ended),
            (FunctionEnd::Continue, Identified::User(user)) if self.is_revoked(session, Some(&user), at) => {
                AuthenticatorOutcome::NoSession(NoSession::Revoked)
            }
            (FunctionEnd::Continue, Identified::User(user)) => {
                let user = Arc::new(User { via: VIA, ..Arc::unwrap_or_clone(user) });
                if let Some(until) = until.filter(|_| fields.is_empty()) {
                    self.remember(session, remembered, &user, until);
                }
                AuthenticatorOutcome::Accepted(user)
            }
            (end, _) => end.outcome(),
        };
        outcome.with_fields(fields)
    }

    /// Remembers whose session a cookie is, at most until its end.
    fn remember(&self, session: &LoginSession, by: RememberedSession, user: &Arc<User>, until: Duration) {
        let until = until.min(session.end);
        let (user_of, id) = (Arc::clone(user), Some(session.id.clone()));
        let entry = VerifiedCredential { user: user_of, until, id, binding: None, answer: None };
        self.identity.memory.insert(by.tag, entry, by.bytes + asked::size_of_user(user), by.epoch);
    }

    /// Returns true if the session, or its user as of when it began, was revoked.
    fn is_revoked(&self, session: &LoginSession, user: Option<&User>, at: Moment) -> bool {
        let nobody = User::default();
        self.identity.memory.is_revoked(user.unwrap_or(&nobody), Some(&session.id), Some(session.begun), at.wall)
    }

    /// Returns the session cookie of a request.
    fn sent<'e>(&self, exchange: &'e Exchange) -> SentCookie<'e> {
        let CookieNames { http, https } = &self.config.cookies;
        let name = if http == https || location::is_secure(exchange) { https } else { http };
        let mut found = cookie::all(exchange).filter(|(sent, _)| *sent == name.as_bytes());
        match (found.next(), found.next()) {
            (None, _) => SentCookie::None,
            (Some((_, value)), None) => SentCookie::One(value),
            _ => SentCookie::Several,
        }
    }

    /// Returns true if a cookie is a session or an attempt, over http or https.
    fn is_own(&self, name: &[u8]) -> bool {
        let CookieNames { http, https } = &self.config.cookies;
        [http, https].iter().any(|own| {
            let rest = name.strip_prefix(own.as_bytes());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(ATTEMPT))
        })
    }

    #[inline]
    fn is_cross_site(&self, exchange: &Exchange) -> bool {
        fetch::needs_own_site(exchange) && fetch::is_cross_site(exchange, self.config.origin.as_deref())
    }
}

/// By what a session is remembered.
#[derive(Clone, Copy)]
struct RememberedSession {
    tag: CredentialTag,
    /// Of the memory before the session was judged.
    epoch: u64,
    bytes: usize,
}

fn cross_site() -> AuthenticatorOutcome {
    AuthenticatorOutcome::Rejected(Box::new(Rejection {
        status: 403,
        code: "cross_site_request",
        message: "a page of another site cannot send this request with the user's session".into(),
        headers: Vec::new(),
    }))
}
