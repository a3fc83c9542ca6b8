//! API keys in a header field or query parameter. The plan holds only their SHA-256.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{constant_time, digest};
use pylae_core::request::query;
use pylae_core::{Exchange, Problem, User};
use serde::Deserialize;

use crate::authentication::authenticator::AuthenticatorKind;
use crate::authentication::credential::{is_named, strip_field, strip_parameter};
use crate::authentication::identity::Identity;
use crate::authentication::outcome::{AuthenticatorOutcome, Refusal};
use crate::authentication::token::is_forwardable;

/// Maximum bytes of a key as sent.
const MAX_LENGTH: usize = 1024;

/// What the plan says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Request field that carries the key.
    header: Option<String>,
    /// Query parameter that carries the key.
    query: Option<String>,
    consumers: Vec<Consumer>,
    /// Whether instances see the key.
    forward_credentials: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Consumer {
    id: String,
    email: String,
    role: String,
    permissions: Vec<String>,
    /// SHA-256 of each key, in hex.
    keys: Vec<String>,
}

type Hash = [u8; 32];

/// The authenticator.
pub(crate) struct ApiKey {
    header: Option<String>,
    query: Option<String>,
    /// By the first half of the hash. The whole hash is compared in constant time.
    consumers: HashMap<[u8; 16], (Hash, Arc<User>)>,
    /// Those whose first half is that of another. In a map of lists, each list would be a miss of the cache.
    others: Vec<(Hash, Arc<User>)>,
    forward: bool,
    identity: Arc<Identity>,
}

/// The key in a request.
enum SentKey {
    None,
    One(Vec<u8>),
    Several,
}

impl AuthenticatorKind for ApiKey {
    type Config = Config;

    fn build(config: Config, identity: &Arc<Identity>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let (mut consumers, mut others) = (HashMap::new(), Vec::new());
        for (index, consumer) in config.consumers.into_iter().enumerate() {
            let Consumer { id, email, role, permissions, keys } = consumer;
            let user = Arc::new(User { id, email, role, permissions, claims: serde_json::Map::new(), via: "api_key" });
            if user.id.is_empty() || !is_forwardable(&user) {
                problems.push(Problem::at(
                    format!("consumers[{index}]"),
                    "the name, role or mail address cannot be told to instances",
                ));
            }
            for (number, key) in keys.iter().enumerate() {
                let Some(hash) = parse_sha256(key) else {
                    let at = format!("consumers[{index}].keys[{number}]");
                    problems.push(Problem::at(at, "this is not a SHA-256 in hex"));
                    continue;
                };
                match consumers.entry(first_half(&hash)) {
                    Entry::Vacant(place) => drop(place.insert((hash, Arc::clone(&user)))),
                    Entry::Occupied(_) => others.push((hash, Arc::clone(&user))),
                }
            }
        }
        if config.header.is_none() && config.query.is_none() {
            problems.push(Problem::at("header", "either a field or a query parameter must carry the key"));
        }
        if let Some(header) = &config.header
            && pylae_http::Edits::default().set(header.as_bytes(), b"").is_err()
        {
            problems.push(Problem::at("header", "is not a field that may carry a key"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let Config { header, query, forward_credentials: forward, .. } = Config { consumers: Vec::new(), ..config };
        Ok(Self { header, query, consumers, others, forward, identity: Arc::clone(identity) })
    }

    // The scheme is not registered, but a 401 must name one.
    fn challenge(&self, realm: &str) -> String {
        format!("ApiKey realm=\"{realm}\"")
    }

    fn authenticate(&self, exchange: &Exchange, _: impl FnOnce() -> Option<Duration>) -> AuthenticatorOutcome {
        let key = match self.sent_key(exchange) {
            SentKey::None => return AuthenticatorOutcome::Absent,
            SentKey::Several => {
                return AuthenticatorOutcome::Refused(Refusal::Bad("the request has more than one API key"));
            }
            SentKey::One(key) => key,
        };
        let found = if key.len() > MAX_LENGTH { None } else { self.find(&key) };
        match found {
            Some(user) if !self.identity.memory.is_revoked(&user, None, None, exchange.times.wall) => {
                AuthenticatorOutcome::Accepted(user)
            }
            _ => AuthenticatorOutcome::Refused(Refusal::Bad("the API key is not known")),
        }
    }

    fn strip_credential(&self, exchange: &mut Exchange) {
        if self.forward {
            return;
        }
        if let Some(header) = &self.header {
            strip_field(exchange, header);
        }
        if let Some(name) = &self.query {
            strip_parameter(exchange, name);
        }
    }

    fn credential_names(&self) -> impl Iterator<Item = &str> {
        self.header.iter().chain(&self.query).map(String::as_str)
    }
}

impl ApiKey {
    fn find(&self, key: &[u8]) -> Option<Arc<User>> {
        let hash = digest::digest(&digest::SHA256, key);
        let hash: Hash = hash.as_ref().try_into().ok()?;
        // Clients cannot steer the hash of a secret key, so timing of this lookup reveals nothing.
        let mut candidates = self.consumers.get(&first_half(&hash)).into_iter().chain(&self.others);
        let found = candidates.find(|(own, _)| constant_time::verify_slices_are_equal(own, &hash).is_ok());
        found.map(|(_, user)| Arc::clone(user))
    }

    fn sent_key(&self, exchange: &Exchange) -> SentKey {
        let fields = self.header.iter().flat_map(|name| exchange.request.values(name)).map(<[u8]>::to_vec);
        let parameters = self.query.iter().flat_map(|name| {
            let pairs = query::pairs(exchange.request.query().unwrap_or_default());
            pairs.filter(|(sent, _)| is_named(sent, name)).map(|(_, value)| query::decoded(value).into_owned())
        });
        let mut all = fields.chain(parameters);
        match (all.next(), all.next()) {
            (None, _) => SentKey::None,
            (Some(key), None) => SentKey::One(key),
            _ => SentKey::Several,
        }
    }
}

fn first_half(hash: &Hash) -> [u8; 16] {
    std::array::from_fn(|at| hash[at])
}

fn parse_sha256(text: &str) -> Option<Hash> {
    let digit = |at: usize| char::from(text.as_bytes()[at]).to_digit(16);
    if text.len() != 64 {
        return None;
    }
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = (digit(2 * at)? * 16 + digit(2 * at + 1)?) as u8;
    }
    Some(hash)
}
