//! Tokens that only the owner of a key may use: the key signs a proof for every request (`DPoP`, RFC 9449), or is that
//! of the client's certificate (RFC 8705 section 3). Which key it is says the token's claim `cnf` (RFC 7800).

pub(super) mod confirmation;
pub(super) mod evidence;
mod nonce;
mod proof;
pub(super) mod replay;

use std::sync::Arc;
use std::time::Duration;

use pylae_core::plan::Seconds;
use pylae_core::{Exchange, Problem, User};
use pylae_http::{Edits, Name};
use serde::{Deserialize, Serialize};

use super::identity::Identity;
use super::keys::SignatureAlgorithm;
use super::memory::KnownCredential;
use super::outcome::{AuthenticatorOutcome, Moment, Refusal, Unproven};
use confirmation::{Binding, Thumbprint};
use evidence::{Evidence, Scheme, SentProof, SentToken};
use nonce::{NonceAge, Nonces};
use replay::ProofUse;

/// What the plan says about tokens that are bound to keys.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BindingConfig {
    dpop: DpopConfig,
    /// Whether every token must be bound to the client's certificate.
    certificate_required: bool,
}

/// What the plan says about proofs.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DpopConfig {
    /// Whether every token must be bound to a key, and be sent with a proof.
    required: bool,
    /// Whether a client that sends no token is told that proofs are understood.
    announced: bool,
    /// How old a proof may be.
    max_age: Seconds,
    /// Whether proofs must repeat what the gateway has said lately.
    nonce: bool,
    /// What nonces are made with; None is what this process makes up.
    nonce_secret: Option<String>,
    /// Accepted algorithms of proofs.
    algorithms: Vec<SignatureAlgorithm>,
}

/// Whether a proof is used up by looking at it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Looks {
    /// It is for the request: it cannot be used again.
    ForReal,
    /// It is for an explanation.
    Only,
}

/// Decides whether verified tokens were sent by those who they are bound to.
pub(super) struct BindingRules {
    dpop: DpopConfig,
    certificate_required: bool,
    /// How far clocks may differ.
    leeway: Duration,
    nonces: Option<Nonces>,
    challenge: String,
    identity: Arc<Identity>,
}

impl BindingRules {
    /// `leeway` is how far the clocks of clients may differ. Paths of problems are relative to `config`.
    pub(super) fn build(
        config: BindingConfig,
        leeway: Duration,
        identity: &Arc<Identity>,
    ) -> Result<Self, Vec<Problem>> {
        let BindingConfig { dpop, certificate_required } = config;
        if dpop.algorithms.is_empty() || dpop.algorithms.iter().any(|algorithm| !algorithm.is_public()) {
            let text = "proofs need at least one algorithm, and none that uses a secret";
            return Err(vec![Problem::at("dpop.algorithms", text)]);
        }
        let nonces = match (&dpop.nonce_secret, dpop.nonce) {
            (_, false) => None,
            (Some(secret), true) => Some(Nonces::new(secret.as_bytes())),
            (None, true) => Some(Nonces::new(
                identity
                    .nonce_secret()
                    .ok_or_else(|| vec![Problem::at("dpop.nonce", "the system has no randomness for it")])?,
            )),
        };
        let names: Vec<&str> = dpop.algorithms.iter().map(|algorithm| algorithm.name()).collect();
        let challenge = format!("DPoP algs=\"{}\"", names.join(" "));
        Ok(Self { dpop, certificate_required, leeway, nonces, challenge, identity: Arc::clone(identity) })
    }

    /// Returns the challenge for tokens with proofs, if clients are to be told of it; and whether tokens without are
    /// refused.
    pub(super) fn challenge(&self) -> Option<(&str, bool)> {
        (self.dpop.required || self.dpop.announced).then_some((&self.challenge, self.dpop.required))
    }

    /// Decides about the sender of a verified token. Must be called for every request, also for a token that is
    /// remembered.
    #[inline]
    pub(super) fn admit(
        &self,
        known: KnownCredential,
        sent: SentToken<'_>,
        exchange: &Exchange,
    ) -> AuthenticatorOutcome {
        if self.asks_nothing(&known, sent.scheme) {
            return AuthenticatorOutcome::Accepted(known.user);
        }
        let evidence = Evidence::of(exchange, sent.scheme);
        self.settle(known, sent.text, &evidence, Moment::of(exchange), Looks::ForReal)
    }

    /// Like `admit`, for a request that is known by its `evidence` alone.
    pub(super) fn settle(
        &self,
        known: KnownCredential,
        token: &[u8],
        evidence: &Evidence,
        at: Moment,
        looks: Looks,
    ) -> AuthenticatorOutcome {
        if self.asks_nothing(&known, evidence.scheme) {
            return AuthenticatorOutcome::Accepted(known.user);
        }
        match self.judge(known.binding.as_deref(), token, evidence, at, looks) {
            Ok(None) => AuthenticatorOutcome::Accepted(known.user),
            Ok(Some(nonce)) => next_nonce(&nonce, known.user),
            Err(refusal) => AuthenticatorOutcome::Refused(refusal),
        }
    }

    /// Returns the refusal of a token for `why`, which is told in the scheme that the client has used.
    pub(super) fn refusal(&self, scheme: Scheme, why: &'static str) -> Refusal {
        match scheme {
            Scheme::Bearer => Refusal::Bad(why),
            Scheme::Dpop => self.unproven("invalid_token", why),
        }
    }

    #[inline]
    fn asks_nothing(&self, known: &KnownCredential, scheme: Scheme) -> bool {
        known.binding.is_none() && scheme == Scheme::Bearer && !self.dpop.required && !self.certificate_required
    }

    /// Returns the nonce that the client should use from now on, if it is another one.
    fn judge(
        &self,
        binding: Option<&Binding>,
        token: &[u8],
        evidence: &Evidence,
        at: Moment,
        looks: Looks,
    ) -> Result<Option<String>, Refusal> {
        match binding.and_then(|binding| binding.certificate) {
            None if self.certificate_required => {
                return Err(self.refusal(evidence.scheme, "only tokens bound to a client certificate are accepted"));
            }
            Some(bound) => self.check_certificate(&bound, evidence, at, looks)?,
            None => {}
        }
        match (binding.and_then(|binding| binding.key), evidence.scheme) {
            (Some(key), Scheme::Dpop) => self.check_proof(&key, token, evidence, at, looks),
            (Some(_), Scheme::Bearer) => Err(self.unproven("invalid_token", DOWNGRADED)),
            (None, Scheme::Dpop) => Err(self.unproven("invalid_token", "the token is not bound to a key of DPoP")),
            (None, Scheme::Bearer) if self.dpop.required => {
                Err(self.unproven("invalid_token", "only tokens bound to a key of DPoP are accepted"))
            }
            (None, Scheme::Bearer) => Ok(None),
        }
    }

    fn check_certificate(
        &self,
        bound: &Thumbprint,
        evidence: &Evidence,
        at: Moment,
        looks: Looks,
    ) -> Result<(), Refusal> {
        let why = match &evidence.certificate {
            None if looks == Looks::Only => {
                let why = "the token is bound to a client certificate, and there is no connection that has one";
                return Err(Refusal::Unchecked(why));
            }
            None => "the token is bound to a client certificate, and the connection has none",
            // A connection or a resumed session may outlive the certificate.
            Some(certificate) if certificate.not_after < at.wall => "the client's certificate has expired",
            Some(certificate) if certificate.thumbprint != *bound => "the token is bound to another client certificate",
            Some(_) => return Ok(()),
        };
        Err(self.refusal(evidence.scheme, why))
    }

    /// The steps of RFC 9449 section 4.3. What is cheap comes first, and only who has shown the right key makes the
    /// gateway verify a signature.
    fn check_proof(
        &self,
        key: &Thumbprint,
        token: &[u8],
        evidence: &Evidence,
        at: Moment,
        looks: Looks,
    ) -> Result<Option<String>, Refusal> {
        let invalid = |why| self.unproven("invalid_dpop_proof", why);
        let text = match &evidence.proof {
            SentProof::One(text) => text,
            SentProof::None => return Err(invalid("the request has no proof (DPoP) for its token")),
            SentProof::Several => return Err(invalid("the request has more than one DPoP field")),
            SentProof::TooLarge => return Err(invalid("the proof is too large")),
        };
        let expected = proof::Expected {
            key,
            token,
            method: &evidence.method,
            address: evidence.address.as_deref(),
            algorithms: &self.dpop.algorithms,
            oldest: at.wall.saturating_sub(self.dpop.max_age.0).saturating_sub(self.leeway),
            newest: at.wall.saturating_add(self.leeway),
        };
        let proof = proof::verify(text, &expected).map_err(|mismatch| match mismatch {
            proof::Mismatch::Key => {
                self.unproven("invalid_token", "the token is bound to another key than the proof's")
            }
            proof::Mismatch::Proof(why) => invalid(why),
        })?;
        let age = self.nonces.as_ref().map(|nonces| nonces.age(proof.nonce.as_deref(), at.wall));
        if age == Some(NonceAge::Unknown) {
            return Err(self.unproven_with("use_dpop_nonce", "the proof must have the nonce of DPoP-Nonce", at));
        }
        let until = proof.issued.saturating_add(self.dpop.max_age.0).saturating_add(self.leeway);
        let memory = &self.identity.proofs;
        let used = match looks {
            Looks::ForReal => memory.use_up(key, &proof.id, until, at.wall),
            Looks::Only => memory.look_up(key, &proof.id),
        };
        match used {
            ProofUse::First => {}
            ProofUse::Again => return Err(invalid("the proof was used before")),
            ProofUse::Full => return Err(Refusal::Unchecked("there are too many proofs to remember")),
        }
        Ok(self.nonces.as_ref().filter(|_| age == Some(NonceAge::Previous)).map(|nonces| nonces.current(at.wall)))
    }

    fn unproven(&self, error: &'static str, why: &'static str) -> Refusal {
        Refusal::Unproven(Box::new(Unproven { why, error, challenge: self.challenge.clone(), nonce: None }))
    }

    fn unproven_with(&self, error: &'static str, why: &'static str, at: Moment) -> Refusal {
        let nonce = self.nonces.as_ref().map(|nonces| nonces.current(at.wall));
        Refusal::Unproven(Box::new(Unproven { why, error, challenge: self.challenge.clone(), nonce }))
    }
}

const DOWNGRADED: &str = "the token is bound to a key: it must be sent as DPoP, with a proof";

/// Accepts the user, and tells the client which nonce to use (RFC 9449 section 8.2).
fn next_nonce(nonce: &str, user: Arc<User>) -> AuthenticatorOutcome {
    let mut fields = Edits::default();
    // Cannot fail: base64url.
    let _ = fields.append(b"DPoP-Nonce", nonce.as_bytes());
    AuthenticatorOutcome::WithFields(fields, Box::new(AuthenticatorOutcome::Accepted(user)))
}

/// Keeps a token and its proof from the instance.
pub(super) fn strip(exchange: &mut Exchange) {
    if SentToken::of(exchange).is_some() {
        exchange.request.edits.remove_known(Name::Authorization);
    }
    if exchange.request.head.fields.has(Name::Dpop) {
        exchange.request.edits.remove_known(Name::Dpop);
    }
}
