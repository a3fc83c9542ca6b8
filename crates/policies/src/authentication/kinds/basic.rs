//! `Authorization: Basic` (RFC 7617). Passwords are verified off the workers, because their hashes are slow by design.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use pylae_core::plan::Seconds;
use pylae_core::{Exchange, Problem, User};
use pylae_http::Name;
use serde::{Deserialize, Serialize};

use crate::authentication::authenticator::AuthenticatorKind;
use crate::authentication::identity::Identity;
use crate::authentication::memory::{CredentialTag, KnownCredential, VerifiedCredential};
use crate::authentication::outcome::{AuthenticatorOutcome, Moment, Refusal, credential};
use crate::authentication::token::is_forwardable;

/// Maximum bytes of user name and password as sent.
const MAX_LENGTH: usize = 1024;
/// Limits for Argon2 parameters, memory in KiB: a mistyped hash must not stall the gateway.
const MAX_ARGON2_MEMORY: u32 = 256 * 1024;
const MAX_ARGON2_ROUNDS: u32 = 16;
const MAX_BCRYPT_COST: u32 = 15;

/// What the plan says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    users: Vec<Account>,
    /// How long a verified password is remembered.
    remember: Seconds,
    /// Whether instances see the credentials.
    forward_credentials: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    id: String,
    email: String,
    role: String,
    permissions: Vec<String>,
    /// Argon2id in PHC form (`$argon2id$…`), or bcrypt (`$2b$…`).
    password_hash: String,
}

/// The authenticator.
pub(crate) struct Basic {
    inner: Arc<BasicUsers>,
    forward: bool,
}

struct BasicUsers {
    users: HashMap<String, (StoredPassword, Arc<User>)>,
    /// Hashes to verify against for users that do not exist.
    decoys: Box<[StoredPassword]>,
    remember: Duration,
    salt: u64,
    identity: Arc<Identity>,
}

/// A password's hash.
#[derive(Clone)]
enum StoredPassword {
    Argon2(Box<PasswordHash>),
    Bcrypt(String),
}

const WRONG: &str = "the user name or the password is wrong";
const BUSY: &str = "too many passwords are being verified";
/// The check panicked.
const FAILED: &str = "the password could not be verified";

impl AuthenticatorKind for Basic {
    type Config = Config;

    fn build(config: Config, identity: &Arc<Identity>) -> Result<Self, Vec<Problem>> {
        // Cannot fail: strings, numbers and lists.
        let settings = serde_json::to_string(&config).unwrap_or_default();
        let mut problems = Vec::new();
        let mut users = HashMap::new();
        let mut decoys = Vec::new();
        for (index, account) in config.users.into_iter().enumerate() {
            let Account { id, email, role, permissions, password_hash } = account;
            let name = id.clone();
            let user = User { id, email, role, permissions, claims: serde_json::Map::new(), via: "basic" };
            if name.is_empty() || name.contains(':') || !is_forwardable(&user) {
                problems.push(Problem::at(
                    format!("users[{index}]"),
                    "the name, role or mail address cannot be told to instances",
                ));
            }
            match StoredPassword::parse(&password_hash) {
                Ok(stored) => {
                    decoys.push(stored.clone());
                    users.insert(name, (stored, Arc::new(user)));
                }
                Err(why) => problems.push(Problem::at(format!("users[{index}].password_hash"), why)),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let inner = BasicUsers {
            decoys: decoys.into(),
            users,
            remember: config.remember.0,
            salt: identity.memory.salt(&settings),
            identity: Arc::clone(identity),
        };
        Ok(Self { inner: Arc::new(inner), forward: config.forward_credentials })
    }

    fn challenge(&self, realm: &str) -> String {
        format!("Basic realm=\"{realm}\", charset=\"UTF-8\"")
    }

    fn authenticate(&self, exchange: &Exchange, lockout: impl FnOnce() -> Option<Duration>) -> AuthenticatorOutcome {
        let Some(sent) = credential(exchange, "basic") else { return AuthenticatorOutcome::Absent };
        let (identity, at) = (&self.inner.identity, Moment::of(exchange));
        let tag = identity.memory.tag(self.inner.salt, sent);
        if let Some(KnownCredential { user, .. }) = identity.memory.get(tag, at.wall) {
            return AuthenticatorOutcome::Accepted(user);
        }
        if let Some(wait) = lockout() {
            return AuthenticatorOutcome::Refused(Refusal::Limited(wait));
        }
        let Some((name, password)) = parse_credentials(sent) else {
            return AuthenticatorOutcome::Refused(Refusal::Bad(WRONG));
        };
        let Some(background) = identity.background() else {
            return AuthenticatorOutcome::Refused(Refusal::Unchecked(BUSY));
        };
        let check = Arc::new(PendingCheck::default());
        let (inner, result) = (Arc::clone(&self.inner), CheckEnd(Arc::clone(&check)));
        let length = sent.len();
        let accepted = background.run(Box::new(move || {
            result.0.complete(inner.verify(&name, &password, (tag, length), at));
        }));
        if !accepted {
            return AuthenticatorOutcome::Refused(Refusal::Unchecked(BUSY));
        }
        AuthenticatorOutcome::Wait(Box::pin(async move { check.wait().await }))
    }

    fn preview(&self, exchange: &Exchange) -> AuthenticatorOutcome {
        let Some(sent) = credential(exchange, "basic") else { return AuthenticatorOutcome::Absent };
        let user = parse_credentials(sent).and_then(|(name, password)| self.inner.find(&name, &password));
        outcome_of(user)
    }

    fn strip_credential(&self, exchange: &mut Exchange) {
        if !self.forward && credential(exchange, "basic").is_some() {
            exchange.request.edits.remove_known(Name::Authorization);
        }
    }
}

impl BasicUsers {
    fn find(&self, name: &str, password: &[u8]) -> Option<Arc<User>> {
        let Some((stored, user)) = self.users.get(name) else {
            // The result is ignored. This takes the time that an existing user would take.
            self.decoy_for(name).map(|stored| stored.verify(password));
            return None;
        };
        stored.verify(password).then(|| Arc::clone(user))
    }

    /// Returns the hash to verify an unknown name against. Hashes may differ in cost, so each unknown name always gets
    /// the same hash: its timing then looks like that of an existing name.
    fn decoy_for(&self, name: &str) -> Option<&StoredPassword> {
        let number = self.identity.memory.salt(name) % (self.decoys.len() as u64).max(1);
        self.decoys.get(usize::try_from(number).unwrap_or(0))
    }

    /// Verifies a password and remembers it.
    fn verify(
        &self,
        name: &str,
        password: &[u8],
        (tag, length): (CredentialTag, usize),
        at: Moment,
    ) -> Option<Arc<User>> {
        let memory = &self.identity.memory;
        let epoch = memory.epoch();
        let user = self.find(name, password)?;
        if memory.is_revoked(&user, None, None, at.wall) {
            return None;
        }
        let entry = VerifiedCredential {
            user: Arc::clone(&user),
            until: at.wall.saturating_add(self.remember),
            id: None,
            binding: None,
            answer: None,
        };
        memory.insert(tag, entry, length, epoch);
        Some(user)
    }
}

impl StoredPassword {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if matches!(text.get(..4), Some("$2a$" | "$2b$" | "$2y$")) {
            let parts: bcrypt::HashParts = text.parse().map_err(|_| "this is not a bcrypt hash")?;
            return if parts.get_cost() > MAX_BCRYPT_COST {
                Err("its cost is too high to verify")
            } else {
                Ok(Self::Bcrypt(text.to_owned()))
            };
        }
        let hash = PasswordHash::new(text).map_err(|_| "this is neither an Argon2id nor a bcrypt hash")?;
        if Algorithm::try_from(hash.algorithm.as_str()) != Ok(Algorithm::Argon2id) {
            return Err("this is neither an Argon2id nor a bcrypt hash");
        }
        let params = argon2::Params::try_from(&hash).map_err(|_| "its Argon2 parameters cannot be used")?;
        if params.m_cost() > MAX_ARGON2_MEMORY || params.t_cost() > MAX_ARGON2_ROUNDS {
            return Err("its cost is too high to verify");
        }
        Ok(Self::Argon2(Box::new(hash)))
    }

    fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2(hash) => Argon2::default().verify_password(password, &**hash).is_ok(),
            // Refuse passwords that bcrypt would truncate, because different passwords would match.
            Self::Bcrypt(hash) => bcrypt::non_truncating_verify(password, hash).unwrap_or(false),
        }
    }
}

fn outcome_of(user: Option<Arc<User>>) -> AuthenticatorOutcome {
    user.map_or(AuthenticatorOutcome::Refused(Refusal::Bad(WRONG)), AuthenticatorOutcome::Accepted)
}

/// Decodes user name and password.
fn parse_credentials(sent: &[u8]) -> Option<(String, Vec<u8>)> {
    if sent.len() > MAX_LENGTH * 2 {
        return None;
    }
    let bytes = STANDARD.decode(sent).ok().filter(|bytes| bytes.len() <= MAX_LENGTH)?;
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let name = std::str::from_utf8(&bytes[..colon]).ok()?;
    Some((name.to_owned(), bytes[colon + 1..].to_vec()))
}

/// The result of a check on a background thread, for the worker that waits for it.
#[derive(Default)]
struct PendingCheck(Mutex<CheckState>);

#[derive(Default)]
enum CheckState {
    #[default]
    Running,
    Awaited(Waker),
    Done(Option<Arc<User>>),
    /// The job was dropped before it was done.
    Abandoned,
}

/// Ends a check when the job is dropped, after a panic as well: nobody waits for it any longer then.
struct CheckEnd(Arc<PendingCheck>);

impl Drop for CheckEnd {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl PendingCheck {
    fn complete(&self, user: Option<Arc<User>>) {
        let previous = std::mem::replace(&mut *self.0.lock(), CheckState::Done(user));
        if let CheckState::Awaited(waker) = previous {
            waker.wake();
        }
    }

    /// Ends the check if it is not complete.
    fn abandon(&self) {
        let mut state = self.0.lock();
        if matches!(*state, CheckState::Running | CheckState::Awaited(_))
            && let CheckState::Awaited(waker) = std::mem::replace(&mut *state, CheckState::Abandoned)
        {
            drop(state);
            waker.wake();
        }
    }

    async fn wait(&self) -> AuthenticatorOutcome {
        poll_fn(|cx| {
            let mut state = self.0.lock();
            match &mut *state {
                CheckState::Done(user) => return Poll::Ready(outcome_of(user.take())),
                CheckState::Abandoned => {
                    return Poll::Ready(AuthenticatorOutcome::Refused(Refusal::Unchecked(FAILED)));
                }
                CheckState::Running | CheckState::Awaited(_) => {}
            }
            *state = CheckState::Awaited(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_that_do_not_exist_cost_what_some_name_that_exists_costs() {
        // Cheap Argon2, expensive Argon2, and bcrypt: always using the same decoy would reveal unknown names.
        let hashes = [
            "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21l$c29tZXNhbHRzb21l",
            "$argon2id$v=19$m=65536,t=3,p=1$c29tZXNhbHRzb21l$c29tZXNhbHRzb21l",
            "$2b$12$abcdefghijklmnopqrstuuN9ZKLbDVl5JJQqGYO0c5xWTHHQQqDxi",
        ];
        let account = |(number, hash)| json!({"id": format!("user-{number}"), "email": "", "role": "", "permissions": [], "password_hash": hash});
        let users: Vec<_> = hashes.into_iter().enumerate().map(account).collect();
        let config = json!({"users": users, "remember": 60.0, "forward_credentials": false});
        let built = Basic::build(serde_json::from_value(config).unwrap(), &Arc::default());
        let inner = built.map_err(|found| format!("{found:?}")).unwrap().inner;
        let kind = |name: &str| match inner.decoy_for(name) {
            Some(StoredPassword::Bcrypt(_)) => 2,
            Some(StoredPassword::Argon2(hash)) => usize::from(argon2::Params::try_from(&**hash).unwrap().m_cost() > 64),
            None => panic!("nothing stands in for {name}"),
        };
        let mut seen = [0; 3];
        for number in 0..300 {
            let name = format!("nobody-{number}");
            assert_eq!(kind(&name), kind(&name));
            seen[kind(&name)] += 1;
        }
        // A hundred each, within six standard deviations.
        assert!(seen.iter().all(|count| (50..=150).contains(count)), "{seen:?}");
    }
}
