//! What a session cookie says.

use std::sync::Arc;
use std::time::Duration;

use pylae_core::User;
use pylae_core::request::session::NoSession;
use pylae_core::request::session::sealer::{OpenError, PurposeSealer};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::authentication::object::Object;
use crate::authentication::token::is_forwardable;

/// What users are known by.
pub(super) const VIA: &str = "oidc";
/// Most bytes of a cookie's value.
const MAX_COOKIE: usize = 1024;
/// Most bytes of a session's id.
const MAX_ID: usize = 64;

/// A session, as its cookie has it. Times are since the Unix epoch.
#[derive(Debug)]
pub(super) struct LoginSession {
    /// Its id, by which it is revoked.
    pub(super) id: Box<str>,
    /// When it began. Revocations of its user before that do not concern it.
    pub(super) begun: Duration,
    /// When it ends.
    pub(super) end: Duration,
    /// From when on Python must look at it.
    pub(super) check: Duration,
    /// None if the cookie does not say it.
    pub(super) user: Option<Arc<User>>,
}

/// The members of the sealed object.
#[derive(Deserialize)]
struct SealedMembers {
    i: Box<str>,
    b: u64,
    x: u64,
    n: u64,
    #[serde(default)]
    f: bool,
    #[serde(default)]
    u: String,
    #[serde(default)]
    e: String,
    #[serde(default)]
    r: String,
    #[serde(default)]
    p: Vec<String>,
    #[serde(default)]
    c: Map<String, Value>,
}

impl LoginSession {
    /// Opens the value of a cookie. `wall` is the time.
    pub(super) fn open(sealer: &PurposeSealer, cookie: &[u8], wall: Duration) -> Result<Self, NoSession> {
        if cookie.len() > MAX_COOKIE {
            return Err(NoSession::Malformed);
        }
        let plain = sealer.open(cookie).map_err(|why| match why {
            OpenError::Malformed => NoSession::Malformed,
            OpenError::UnknownKey => NoSession::UnknownKey,
            OpenError::Forged => NoSession::Forged,
        })?;
        let session = Self::read(&plain).ok_or(NoSession::Malformed)?;
        if wall >= session.end { Err(NoSession::Expired) } else { Ok(session) }
    }

    fn read(plain: &[u8]) -> Option<Self> {
        let Object(SealedMembers { i, b, x, n, f, u, e, r, p, c }) = serde_json::from_slice(plain).ok()?;
        let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if i.is_empty() || i.len() > MAX_ID || !i.bytes().all(is_id) {
            return None;
        }
        let user = User { id: u, email: e, role: r, permissions: p, claims: c, via: VIA };
        if !f && (user.id.is_empty() || !is_forwardable(&user)) {
            return None;
        }
        let at = Duration::from_secs;
        Some(Self { id: i, begun: at(b), end: at(x), check: at(n), user: (!f).then(|| Arc::new(user)) })
    }
}
