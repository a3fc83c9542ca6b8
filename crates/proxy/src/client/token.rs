//! The token of a service, as its requests need it.

use std::time::Duration;

use pylae_core::service::AttemptOutcome;
use pylae_core::trace::{StepKind, WaitedFor};
use pylae_core::{Exchange, Halt, Instant, Rejection};
use pylae_http::Name;

use crate::client::Client;
use crate::io::clock;
use crate::snapshot::{Service, ServiceToken};
use crate::telemetry::traces::{step_began, step_ended};

/// Longest wait of a request for a token, as long as a fetch may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Returns once the service has its token, if it needs one. Waits for the fetch that is due or running if there is
/// none; fails if there is none then either. `deadline` is the exchange's. A service without a token costs one
/// comparison.
#[inline]
pub(crate) async fn await_issue(
    service: &Service,
    deadline: Option<Instant>,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Result<(), Halt> {
    let Some(token) = &service.token else { return Ok(()) };
    if token.current(clock::coarse()).is_some() {
        return Ok(());
    }
    // Boxed, so that only exchanges that wait carry this future's size.
    let began = step_began(exchange);
    let waited = Box::pin(wait(token, deadline, client, exchange)).await;
    step_ended(exchange, StepKind::Wait(WaitedFor::Token), began);
    waited
}

async fn wait(
    token: &ServiceToken,
    deadline: Option<Instant>,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Result<(), Halt> {
    let until = clock::now().saturating_add(PATIENCE);
    client.deadline.set(deadline.map_or(until, |deadline| deadline.min(until)));
    client.wait(exchange, |cx| token.poll_fetched(cx)).await?;
    let now = clock::now();
    exchange.times.now = now;
    if token.current(now).is_some() { Ok(()) } else { Err(unavailable(token, now)) }
}

fn unavailable(token: &ServiceToken, now: Instant) -> Halt {
    let seconds = token.next_fetch(now).as_secs() + 1;
    Halt::Rejected(Box::new(Rejection {
        status: 503,
        code: "upstream_credentials_unavailable",
        message: "the gateway has no credentials for the service at present".into(),
        headers: vec![("Retry-After".into(), seconds.to_string())],
    }))
}

/// Has the token of the service renewed if the response in `exchange` says that it is not valid (RFC 6750 section 3.1).
#[inline]
pub(crate) fn heed_refusal(service: &Service, outcome: AttemptOutcome, exchange: &Exchange, now: Instant) {
    let (Some(token), AttemptOutcome::Status(401)) = (&service.token, outcome) else { return };
    let response = &exchange.response;
    let mut challenges = response.head.fields.values(&response.buffer, Name::WwwAuthenticate.as_str());
    if challenges.any(says_invalid_token) {
        token.renew_early(now);
    }
}

fn says_invalid_token(challenge: &[u8]) -> bool {
    let challenge = challenge.to_ascii_lowercase();
    let has = |text: &[u8]| challenge.windows(text.len()).any(|part| part == text);
    has(b"bearer") && (has(b"error=\"invalid_token\"") || has(b"error=invalid_token"))
}

#[cfg(test)]
mod tests {
    use super::says_invalid_token;

    #[test]
    fn only_a_bearer_challenge_says_that_the_token_is_not_valid() {
        for (challenge, says) in [
            ("Bearer realm=\"x\", error=\"invalid_token\"", true),
            ("bearer Error=\"invalid_token\"", true),
            ("Basic realm=\"x\", Bearer error=invalid_token", true),
            ("Bearer realm=\"x\"", false),
            ("Bearer error=\"insufficient_scope\"", false),
            ("DPoP error=\"invalid_token\"", false),
            ("", false),
        ] {
            assert_eq!(says_invalid_token(challenge.as_bytes()), says, "{challenge}");
        }
    }
}
