//! The token of a service, as its requests need it.

use pylae_core::{Exchange, Halt, Instant, Rejection};
use pylae_http::Name;

use crate::client::Client;
use crate::io::clock;
use crate::snapshot::ServiceToken;

/// Longest wait of a request for a token, as long as a fetch may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Returns once there is a token. Waits for the fetch that is due or running if there is none; fails if there is none
/// then either. `deadline` is the exchange's.
#[inline]
pub(crate) async fn await_issue(
    token: &ServiceToken,
    deadline: Option<Instant>,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Result<(), Halt> {
    if token.current(clock::coarse()).is_some() {
        return Ok(());
    }
    // Boxed, so that only exchanges that wait carry this future's size.
    Box::pin(wait(token, deadline, client, exchange)).await
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

/// Has the token renewed if the response in `exchange`, a 401, says that it is not valid (RFC 6750 section 3.1).
pub(crate) fn heed_refusal(token: &ServiceToken, exchange: &Exchange, now: Instant) {
    let response = &exchange.response;
    let mut challenges = response.head.fields.values(&response.buffer, Name::WwwAuthenticate.as_str());
    let names_it = |challenge: &[u8]| {
        let challenge = challenge.to_ascii_lowercase();
        let has = |text: &[u8]| challenge.windows(text.len()).any(|part| part == text);
        has(b"bearer") && (has(b"error=\"invalid_token\"") || has(b"error=invalid_token"))
    };
    if challenges.any(names_it) {
        token.renew_early(now);
    }
}
