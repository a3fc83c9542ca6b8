//! Client certificates from the TLS handshake, issued by authorities that the listener trusts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pylae_core::connection::certificate::Certificate;
use pylae_core::{Exchange, Problem, User};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::authentication::authenticator::AuthenticatorKind;
use crate::authentication::identity::Identity;
use crate::authentication::outcome::{AuthenticatorOutcome, Refusal};
use crate::authentication::token::is_forwardable;

/// What the plan says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Parts of the certificate that hold the user's id. The first one present is used.
    id: Vec<SubjectPart>,
    /// Known users; None accepts every certificate.
    users: Option<Vec<CertificateUser>>,
}

/// A part of a certificate that names its subject.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SubjectPart {
    CommonName,
    Dns,
    Email,
    Uri,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateUser {
    id: String,
    email: String,
    role: String,
    permissions: Vec<String>,
}

/// The authenticator.
pub(crate) struct ClientCertificate {
    id: Vec<SubjectPart>,
    users: Option<HashMap<String, CertificateUser>>,
    identity: Arc<Identity>,
}

impl AuthenticatorKind for ClientCertificate {
    type Config = Config;

    fn build(config: Config, identity: &Arc<Identity>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        if config.id.is_empty() {
            problems.push(Problem::at("id", "a part of the certificate must say who the user is"));
        }
        for (index, known) in config.users.iter().flatten().enumerate() {
            let CertificateUser { id, email, role, .. } = known;
            let user = User { id: id.clone(), email: email.clone(), role: role.clone(), ..User::default() };
            if id.is_empty() || !is_forwardable(&user) {
                let message = "the name, role or mail address cannot be told to instances";
                problems.push(Problem::at(format!("users[{index}]"), message));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let users = config.users.map(|users| users.into_iter().map(|user| (user.id.clone(), user)).collect());
        Ok(Self { id: config.id, users, identity: Arc::clone(identity) })
    }

    // The scheme is not registered, but a 401 must name one.
    fn challenge(&self, realm: &str) -> String {
        format!("ClientCertificate realm=\"{realm}\"")
    }

    fn authenticate(&self, exchange: &Exchange, _: impl FnOnce() -> Option<Duration>) -> AuthenticatorOutcome {
        let Some(certificate) = &exchange.request.origin.certificate else { return AuthenticatorOutcome::Absent };
        // A connection or a resumed session may outlive the certificate.
        if certificate.not_after < exchange.times.wall {
            return AuthenticatorOutcome::Refused(Refusal::Bad("the client's certificate has expired"));
        }
        match self.user(certificate) {
            Ok(user) if !self.identity.memory.is_revoked(&user, None, None, exchange.times.wall) => {
                AuthenticatorOutcome::Accepted(user)
            }
            Ok(_) => AuthenticatorOutcome::Refused(Refusal::Bad("the client's certificate was revoked")),
            Err(why) => AuthenticatorOutcome::Refused(Refusal::Bad(why)),
        }
    }
}

impl ClientCertificate {
    fn user(&self, certificate: &Certificate) -> Result<Arc<User>, &'static str> {
        let Certificate { common_name, dns, emails, uris, .. } = certificate;
        let found = self.id.iter().find_map(|part| match part {
            SubjectPart::CommonName => Some(common_name).filter(|name| !name.is_empty()),
            SubjectPart::Dns => dns.first(),
            SubjectPart::Email => emails.first(),
            SubjectPart::Uri => uris.first(),
        });
        let id = found.ok_or("the client's certificate does not say who its owner is")?.clone();
        let mut user = User { id, via: "client_certificate", ..User::default() };
        match &self.users {
            None => user.email = emails.first().cloned().unwrap_or_default(),
            Some(users) => {
                let known = users.get(&user.id).ok_or("the owner of the client's certificate is not known")?;
                user.email.clone_from(&known.email);
                user.role.clone_from(&known.role);
                user.permissions.clone_from(&known.permissions);
            }
        }
        if !is_forwardable(&user) {
            return Err("the name in the client's certificate cannot be told to instances");
        }
        user.claims = claims(certificate);
        Ok(Arc::new(user))
    }
}

/// Returns all names of the certificate's subject.
fn claims(certificate: &Certificate) -> Map<String, Value> {
    let Certificate { common_name, dns, emails, uris, .. } = certificate;
    let lists = [("dns", dns), ("emails", emails), ("uris", uris)];
    let lists = lists.into_iter().filter(|(_, names)| !names.is_empty());
    let mut claims: Map<String, Value> = lists.map(|(name, names)| (name.to_owned(), names.clone().into())).collect();
    if !common_name.is_empty() {
        claims.insert("common_name".to_owned(), common_name.clone().into());
    }
    claims
}
