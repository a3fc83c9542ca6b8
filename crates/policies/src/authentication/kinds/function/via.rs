//! What Pylae's own functions have that those of programs have not.

use pylae_core::{Answer, Exchange, Problem, Rejection, User};
use pylae_http::{Edits, Name, NameSet};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::authentication::outcome::{AuthenticatorOutcome, Refusal};

const SENT_ELSEWHERE: &str = "the service does not accept the credential";
const UNAVAILABLE: &str = "the service that knows the user is not available";

/// What is called: a function of the program, or one of Pylae's own.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum IdentitySource {
    Function,
    /// Asks the issuer of a token.
    Introspection,
    /// Asks a service about each request.
    ForwardAuth {
        /// Fields, in lower case, that instances are sent as the service has set them. They are claims of the user.
        copy: Vec<String>,
        /// Fields that no client may send.
        reserved: Vec<String>,
    },
}

impl IdentitySource {
    /// As users have it.
    pub(super) fn text(&self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Introspection => "introspection",
            Self::ForwardAuth { .. } => "forward_auth",
        }
    }

    /// What is wrong with its settings.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        let copied: &[String] = if let Self::ForwardAuth { copy, .. } = self { copy } else { &[] };
        copied.iter().enumerate().filter_map(|(index, name)| {
            let why = Edits::default().set(name.as_bytes(), b"").err()?;
            Some(Problem::at(format!("via.forward_auth.copy[{index}]"), why.0))
        })
    }

    /// The fields that no client may send.
    pub(super) fn reserved(&self) -> &[String] {
        if let Self::ForwardAuth { reserved, .. } = self { reserved } else { &[] }
    }

    /// Sends an instance what the service has set.
    pub(super) fn pass_on(&self, exchange: &mut Exchange, user: &User) {
        let Self::ForwardAuth { copy, .. } = self else { return };
        for name in copy {
            if let Some(value) = user.claims.get(name).and_then(Value::as_str) {
                // Fails only for a value that cannot be sent: the instance is told nothing then.
                let _ = exchange.request.edits.set(name.as_bytes(), value.as_bytes());
            }
        }
    }

    /// Returns true if it is also asked about requests without a credential, and sees what they ask for.
    pub(super) fn sees_target(&self) -> bool {
        matches!(self, Self::ForwardAuth { .. })
    }
}

/// What matters of a request for what a service has answered.
#[derive(Clone, Copy)]
pub(super) struct AskedSender {
    /// Whether it has a credential.
    pub(super) credential: bool,
    /// Whether a browser asks for a page to show, and so can be sent elsewhere.
    pub(super) navigates: bool,
}

impl AskedSender {
    /// Of a request for which a verdict is remembered. None is remembered that would send it elsewhere.
    pub(super) const KNOWN: Self = Self { credential: true, navigates: false };
}

/// Returns true if the request has a field that may hold a credential.
pub(super) fn has_credential(exchange: &Exchange) -> bool {
    const FIELDS: NameSet = NameSet::of(&[Name::Authorization, Name::Cookie]);
    exchange.request.head.fields.has_any(FIELDS)
}

/// What a service has answered ends the request, or is a refusal like others if it asks for a credential. Only people
/// are sent elsewhere.
pub(super) fn answered(answer: Box<Answer>, sender: AskedSender) -> AuthenticatorOutcome {
    match (answer.status, sender) {
        (401, AskedSender { credential, .. }) => {
            AuthenticatorOutcome::Refused(Refusal::Answered { answer, credential })
        }
        (300..=399, AskedSender { navigates: false, credential: true }) => {
            AuthenticatorOutcome::Refused(Refusal::Bad(SENT_ELSEWHERE))
        }
        (300..=399, AskedSender { navigates: false, .. }) => AuthenticatorOutcome::Absent,
        _ => AuthenticatorOutcome::Answered(answer),
    }
}

/// What the client is told when a service cannot be asked, or the call has failed.
pub(super) fn unavailable(mut rejection: Rejection) -> Rejection {
    if !rejection.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Retry-After")) {
        rejection.headers.push(("Retry-After".into(), "1".to_owned()));
    }
    Rejection { status: 503, code: "authentication_unavailable", message: UNAVAILABLE.into(), ..rejection }
}

/// Returns about how many bytes an answer takes.
pub(super) fn size_of_answer(answer: &Answer) -> usize {
    answer.body.len() + answer.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
}
