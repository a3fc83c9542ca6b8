//! Refusals with 401, and what they tell the client to send (RFC 9110 section 11.6.1).

use pylae_core::{Answer, Rejection, Verdict};

use super::Unproven;

/// Distinct values of `WWW-Authenticate`.
pub(crate) struct Challenges(Vec<String>);

impl Challenges {
    pub(crate) fn new(challenges: impl Iterator<Item = String>) -> Self {
        let mut distinct: Vec<String> = Vec::new();
        for challenge in challenges {
            if !distinct.contains(&challenge) {
                distinct.push(challenge);
            }
        }
        Self(distinct)
    }

    /// Rejects as a function has said, with every challenge if it has given none (RFC 9110 section 15.5.2).
    pub(crate) fn challenging(&self, mut rejection: Box<Rejection>) -> Verdict {
        let mut names = rejection.headers.iter().map(|(name, _)| name);
        if !names.any(|name| name.eq_ignore_ascii_case("WWW-Authenticate")) {
            let challenges = self.0.iter().cloned();
            rejection.headers.extend(challenges.map(|challenge| ("WWW-Authenticate".into(), challenge)));
        }
        Verdict::Reject(rejection)
    }

    /// Rejects with 401: the challenge of the scheme in which the token is bound, with what is wrong, then all others.
    pub(crate) fn unproven(&self, Unproven { why, error, challenge, nonce }: Unproven) -> Verdict {
        let own = format!("{challenge}, error=\"{error}\", error_description=\"{why}\"");
        let mut headers = vec![("WWW-Authenticate", own)];
        let others = self.0.iter().filter(|other| **other != challenge);
        headers.extend(others.map(|other| ("WWW-Authenticate", other.clone())));
        headers.extend(nonce.map(|nonce| ("DPoP-Nonce", nonce)));
        reject(401, "unauthorized", why.into(), &headers)
    }

    /// Answers as a service has said, with the same.
    pub(crate) fn answering(&self, mut answer: Box<Answer>) -> Verdict {
        if !answer.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("WWW-Authenticate")) {
            let challenges = self.0.iter().cloned().map(String::into_bytes);
            answer.headers.extend(challenges.map(|challenge| ("WWW-Authenticate".into(), challenge)));
        }
        Verdict::Answer(answer)
    }

    /// Rejects with 401 and every challenge. Only a client that sent a bad bearer token is told why (RFC 6750 section
    /// 3).
    pub(crate) fn unauthorized(&self, message: &'static str, bearer: bool) -> Verdict {
        let challenges = self.0.iter().map(|challenge| {
            if bearer && challenge.starts_with("Bearer") {
                format!("{challenge}, error=\"invalid_token\", error_description=\"{message}\"")
            } else {
                challenge.clone()
            }
        });
        let headers: Vec<_> = challenges.map(|challenge| ("WWW-Authenticate", challenge)).collect();
        reject(401, "unauthorized", message.into(), &headers)
    }
}

/// Returns a rejection as a verdict.
pub(crate) fn reject(
    status: u16,
    code: &'static str,
    message: std::borrow::Cow<'static, str>,
    headers: &[(&'static str, String)],
) -> Verdict {
    let headers = headers.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
    Verdict::Reject(Box::new(Rejection { status, code, message, headers }))
}
