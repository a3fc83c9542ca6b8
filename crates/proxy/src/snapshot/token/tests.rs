use std::task::Waker;

use pylae_core::plan::ClientAuthentication;

use super::*;

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn token() -> ServiceToken {
    let settings = ClientCredentials {
        token_url: "https://id.test/token".into(),
        client_id: "shop".into(),
        client_secret: "secret".into(),
        client_auth: ClientAuthentication::Basic,
        parameters: Vec::new(),
        ca: None,
    };
    ServiceToken::new(settings, at(100))
}

fn issue(lifetime: Option<u64>) -> Issue {
    Issue { authorization: "Bearer t".to_owned(), lifetime: lifetime.map(Duration::from_secs) }
}

fn failure() -> Result<Issue, String> {
    Err("down".to_owned())
}

#[test]
fn a_token_is_renewed_ahead_and_good_until_it_expires() {
    let token = token();
    assert_eq!((token.due(), token.current(at(100)).is_some()), (Some(at(100)), false));
    token.begin_fetch();
    assert_eq!(token.due(), None);
    assert_eq!(token.finish_fetch(Ok(issue(Some(100))), at(100), at(102)), TokenChange::Usual);
    assert_eq!(token.due(), Some(at(182)));
    assert_eq!(token.finish_fetch(failure(), at(182), at(182)), TokenChange::Failing("down".to_owned()));
    // The last one is used until it expires, counted from when it was asked for.
    assert!(token.current(at(199)).is_some());
    assert_eq!(token.lifetime(at(199)), Some(Duration::from_secs(1)));
    assert!(token.current(at(200)).is_none());
    assert_eq!(token.finish_fetch(Ok(issue(None)), at(201), at(201)), TokenChange::Recovered);
    assert_eq!((token.due(), token.lifetime(at(201)), token.failures()), (Some(at(501)), None, 1));
    assert!(token.current(at(100_000)).is_some());
}

#[test]
fn pauses_after_failures_grow_to_a_minute() {
    let token = token();
    let mut pauses = Vec::new();
    for _ in 0..40 {
        token.finish_fetch(failure(), at(100), at(100));
        pauses.push(token.next_fetch(at(100)).as_secs());
    }
    assert_eq!(pauses[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(pauses[39], 60);
}

#[test]
fn a_token_that_an_instance_refuses_is_renewed_once_in_a_while() {
    let token = token();
    token.finish_fetch(Ok(issue(Some(1000))), at(100), at(100));
    token.renew_early(at(110));
    assert_eq!(token.due(), Some(at(110)));
    token.finish_fetch(Ok(issue(Some(1000))), at(110), at(110));
    token.renew_early(at(139));
    assert_eq!(token.due(), Some(at(910)));
    token.renew_early(at(140));
    assert_eq!(token.due(), Some(at(140)));
    // Nobody shortens the pause after a failure.
    token.finish_fetch(failure(), at(140), at(140));
    token.renew_early(at(500));
    assert_eq!(token.due(), Some(at(141)));
}

#[test]
fn who_waits_goes_on_when_the_fetch_is_over() {
    let token = ServiceToken::new(token().settings().clone(), clock::now());
    let mut cx = Context::from_waker(Waker::noop());
    token.begin_fetch();
    assert_eq!(token.poll_fetched(&mut cx), Poll::Pending);
    token.finish_fetch(failure(), clock::now(), clock::now());
    assert_eq!(token.poll_fetched(&mut cx), Poll::Ready(()));
    assert!(token.current(clock::now()).is_none());
    token.begin_fetch();
    assert_eq!(token.poll_fetched(&mut cx), Poll::Pending);
    token.finish_fetch(Ok(issue(Some(60))), clock::now(), clock::now());
    assert_eq!(token.poll_fetched(&mut cx), Poll::Ready(()));
    assert!(token.current(clock::now()).is_some());
}
