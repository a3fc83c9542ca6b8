//! Parses and verifies JSON Web Tokens (RFC 7515, RFC 7519). Strict: anything doubtful is refused.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pylae_core::User;
use pylae_core::exchange::user::find_claim;
use pylae_http::{Edits, Name};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::binding::confirmation::Binding;
use super::keys::{KeyMatch, Keys, decode_base64url};
use super::object::Object;
pub(super) use super::outcome::NOT_A_TOKEN;

/// Maximum bytes of a user's id, role or mail address.
const MAX_IDENTITY_LENGTH: usize = 1024;

/// Why a token is refused. The client sees it, so it must not reveal anything that the client could not find out.
pub(super) type RefusalReason = &'static str;

/// Requirements for the claims of a token.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenRules {
    /// Accepted values of `iss`; empty accepts all.
    pub(super) issuers: Vec<String>,
    /// Accepted values of `aud`, one of which must be present; empty accepts all.
    pub(super) audiences: Vec<String>,
    /// Claims that must be present.
    pub(super) required_claims: Vec<String>,
    /// Tolerated difference between clocks.
    pub(super) leeway: pylae_core::plan::Seconds,
    /// Which claims identify the user.
    pub(super) claims: ClaimNames,
}

impl TokenRules {
    /// Returns true if tokens of this issuer are accepted.
    fn is_from(&self, issuer: Option<&str>) -> bool {
        self.issuers.is_empty() || issuer.is_some_and(|issuer| self.issuers.iter().any(|accepted| accepted == issuer))
    }

    /// Returns true if `token`, which is not verified, says that it is from one of the accepted issuers, which are
    /// named.
    pub(super) fn claims_issuer(&self, token: &str) -> bool {
        let payload = token.split('.').nth(1).filter(|_| !self.issuers.is_empty()).and_then(decode_base64url);
        payload.is_some_and(|payload| self.is_from(issuer_of(&payload).as_deref()))
    }
}

/// Names of claims for each attribute. The first claim present is used; `a.b` is `b` inside `a`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClaimNames {
    id: Vec<String>,
    email: Vec<String>,
    role: Vec<String>,
    permissions: Vec<String>,
}

/// A verified token.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) user: Arc<User>,
    /// Since the Unix epoch; None for a token that does not expire.
    pub(super) expires: Option<Duration>,
    pub(super) issued: Option<Duration>,
    pub(super) id: Option<String>,
    /// The key that its sender must have.
    pub(super) binding: Option<Arc<Binding>>,
}

/// Why a token is not verified.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TokenError {
    Refused(RefusalReason),
    /// It is signed by an accepted issuer, and refused all the same.
    Judged(RefusalReason),
    /// The set has no such key, but a newer set might. Holds the reason to refuse the token otherwise.
    UnknownKey(RefusalReason),
}

/// The used members of the JOSE header. Keys and URLs of keys in it are never used.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default, deserialize_with = "not_null")]
    kid: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    crit: Option<Value>,
    #[serde(default, deserialize_with = "not_null")]
    b64: Option<Value>,
}

/// Deserializes a member that may be missing, but not null.
pub(super) fn not_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// A JSON object without duplicate members (RFC 7519 section 4).
struct Claims(Map<String, Value>);

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Claims;
            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Claims, A::Error> {
                let mut claims = Map::new();
                while let Some((name, value)) = members.next_entry::<String, Value>()? {
                    if claims.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("a claim is given twice"));
                    }
                }
                Ok(Claims(claims))
            }
        }
        from.deserialize_map(Members)
    }
}

/// Verifies `token` at `wall`, the time since the Unix epoch.
pub(super) fn verify(token: &str, keys: &Keys, rules: &TokenRules, wall: Duration) -> Result<Verified, TokenError> {
    let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Refused(NOT_A_TOKEN))?;
    let (header, payload) = message.split_once('.').ok_or(TokenError::Refused(NOT_A_TOKEN))?;
    let (Some(header), Some(payload), Some(signature)) =
        (decode_base64url(header), decode_base64url(payload), decode_base64url(signature))
    else {
        return Err(TokenError::Refused(NOT_A_TOKEN));
    };
    let Object::<Header>(header) = serde_json::from_slice(&header).map_err(|_| TokenError::Refused(NOT_A_TOKEN))?;
    if header.crit.is_some() || header.b64.is_some() {
        return Err(TokenError::Refused("the token needs an extension that is not known here"));
    }
    let unknown = |why| match issuer_of(&payload) {
        // No newer key set can make a token of another issuer acceptable.
        Some(issuer) if !rules.is_from(Some(&issuer)) => TokenError::Refused(OTHER_ISSUER),
        _ => TokenError::UnknownKey(why),
    };
    match keys.check(&header.alg, header.kid.as_deref(), message.as_bytes(), &signature) {
        KeyMatch::Verified => {}
        KeyMatch::UnknownKey => return Err(unknown(UNKNOWN_KEY)),
        KeyMatch::WrongAlgorithm => return Err(TokenError::Refused(WRONG_ALGORITHM)),
        KeyMatch::NoKeyForAlgorithm => return Err(unknown(WRONG_ALGORITHM)),
        KeyMatch::Mismatch => return Err(TokenError::Refused(MISMATCH)),
        KeyMatch::NoKeyVerifies => return Err(unknown(MISMATCH)),
    }
    let Claims(claims) = serde_json::from_slice(&payload).map_err(|_| TokenError::Refused(NOT_A_TOKEN))?;
    validate(claims, rules, wall).map_err(|why| match why {
        OTHER_ISSUER => TokenError::Refused(why),
        why => TokenError::Judged(why),
    })
}

/// Returns the issuer that an unverified token claims.
fn issuer_of(payload: &[u8]) -> Option<String> {
    let Claims(mut claims) = serde_json::from_slice(payload).ok()?;
    match claims.remove("iss") {
        Some(Value::String(issuer)) => Some(issuer),
        _ => None,
    }
}

const WRONG_ALGORITHM: RefusalReason = "the token's algorithm is not accepted";
const MISMATCH: RefusalReason = "the token's signature does not match";
const OTHER_ISSUER: RefusalReason = "the token is from another issuer";
pub(super) const UNKNOWN_KEY: RefusalReason = "the token was signed with a key that is not known";

/// Checks the claims of a token with a valid signature.
fn validate(claims: Map<String, Value>, rules: &TokenRules, wall: Duration) -> Result<Verified, RefusalReason> {
    let now = wall.as_secs_f64();
    let leeway = rules.leeway.0.as_secs_f64();
    let expires = numeric_date(&claims, "exp")?;
    let issued = numeric_date(&claims, "iat")?;
    if expires.is_some_and(|expires| now >= expires + leeway) {
        return Err("the token has expired");
    }
    if numeric_date(&claims, "nbf")?.is_some_and(|start| now < start - leeway) {
        return Err("the token is not valid yet");
    }
    if rules.required_claims.iter().any(|name| find_claim(&claims, name).is_none_or(Value::is_null)) {
        return Err("the token lacks a claim that is required");
    }
    if !rules.is_from(optional_string(&claims, "iss")?) {
        return Err(OTHER_ISSUER);
    }
    if !rules.audiences.is_empty() && !is_for(claims.get("aud"), &rules.audiences)? {
        return Err("the token is for another audience");
    }
    let id = optional_string(&claims, "jti")?.map(ToOwned::to_owned);
    let binding = Binding::of(&claims)?;
    let user = user(claims, &rules.claims)?;
    let moment = |seconds: f64| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
    let expires = expires.map(|expires| moment(expires).saturating_add(rules.leeway.0));
    Ok(Verified { user: Arc::new(user), expires, issued: issued.map(moment), id, binding })
}

/// Returns a `NumericDate` claim (RFC 7519 section 2): a number with or without fraction, never a string.
fn numeric_date(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, RefusalReason> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => Ok(Some(number.as_f64().filter(|date| date.is_finite()).ok_or(WRONG_TYPE)?)),
        Some(_) => Err(WRONG_TYPE),
    }
}

const WRONG_TYPE: RefusalReason = "a claim of the token is of the wrong type";

fn optional_string<'a>(claims: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, RefusalReason> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(WRONG_TYPE),
    }
}

/// Returns true if `aud`, a string or a list of strings, names one of `accepted`.
fn is_for(audience: Option<&Value>, accepted: &[String]) -> Result<bool, RefusalReason> {
    let named = string_list(audience.ok_or("the token names no audience")?)?;
    Ok(named.iter().any(|name| accepted.iter().any(|audience| audience == name)))
}

fn string_list(value: &Value) -> Result<Vec<&str>, RefusalReason> {
    match value {
        Value::String(text) => Ok(vec![text]),
        Value::Array(list) => list.iter().map(|item| item.as_str().ok_or(WRONG_TYPE)).collect(),
        _ => Err(WRONG_TYPE),
    }
}

fn first_claim<'a>(claims: &'a Map<String, Value>, names: &[String]) -> Option<&'a Value> {
    names.iter().find_map(|name| find_claim(claims, name).filter(|value| !value.is_null()))
}

fn user(claims: Map<String, Value>, names: &ClaimNames) -> Result<User, RefusalReason> {
    let id = match first_claim(&claims, &names.id) {
        None => return Err("the token does not say who the user is"),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) if number.is_u64() || number.is_i64() => number.to_string(),
        Some(_) => return Err(WRONG_TYPE),
    };
    let email = match first_claim(&claims, &names.email) {
        None => String::new(),
        Some(value) => value.as_str().ok_or(WRONG_TYPE)?.to_owned(),
    };
    let roles = first_claim(&claims, &names.role).map_or(Ok(Vec::new()), string_list)?;
    let permissions = match first_claim(&claims, &names.permissions) {
        None => Vec::new(),
        // The format of `scope` (RFC 8693 section 4.2).
        Some(Value::String(text)) => text.split(' ').filter(|scope| !scope.is_empty()).map(ToOwned::to_owned).collect(),
        Some(value) => string_list(value)?.into_iter().map(ToOwned::to_owned).collect(),
    };
    // Roles are forwarded in one field, separated by commas.
    let role = if roles.iter().any(|role| role.contains(',')) { return Err(UNSAFE) } else { roles.join(",") };
    let user = User { id, email, role, permissions, claims, via: "jwt" };
    if user.id.is_empty() || !is_forwardable(&user) { Err(UNSAFE) } else { Ok(user) }
}

const UNSAFE: RefusalReason = "the token has a user id, role or mail address that cannot be passed on";

/// Returns true if the user's attributes can be forwarded in header fields unchanged.
pub(super) fn is_forwardable(user: &User) -> bool {
    [(Name::XUserId, &user.id), (Name::XUserRole, &user.role), (Name::XUserEmail, &user.email)].iter().all(
        |(name, value)| {
            value.len() <= MAX_IDENTITY_LENGTH
                && value.trim() == value.as_str()
                && Edits::default().set_known(*name, value.as_bytes()).is_ok()
        },
    )
}
