use std::time::Duration;

use super::{AttemptReport, Reason, RetryVerdict, back_off};
use crate::Shortage;
use crate::plan::{self, RetryBudget, RetryOn};
use crate::service::fixture::{at, build, input, plan, threads};
use crate::service::hashing::mix;
use crate::service::{AttemptOutcome, PickInput, ServiceState, Tried};

fn attempt(outcome: AttemptOutcome) -> AttemptReport<'static> {
    AttemptReport {
        outcome,
        number: 1,
        retries: 3,
        retry_on: &[],
        idempotent: true,
        sent: true,
        replayable: true,
        last: None,
    }
}

#[test]
fn failures_of_idempotent_requests_are_repeated() {
    for outcome in [
        AttemptOutcome::ConnectFailed,
        AttemptOutcome::Timeout,
        AttemptOutcome::Reset,
        AttemptOutcome::Status(502),
        AttemptOutcome::Status(504),
    ] {
        assert_eq!(attempt(outcome).may_retry(), Ok(()), "{outcome:?}");
    }
    for outcome in [
        AttemptOutcome::Cancelled,
        AttemptOutcome::Status(200),
        AttemptOutcome::Status(404),
        AttemptOutcome::Status(500),
    ] {
        assert_eq!(attempt(outcome).may_retry(), Err(Reason::NoFailure), "{outcome:?}");
    }
}

#[test]
fn other_requests_are_repeated_only_where_the_route_says_so() {
    let cases: [(AttemptOutcome, &[RetryOn]); 5] = [
        (AttemptOutcome::Reset, &[RetryOn::Reset]),
        (AttemptOutcome::Timeout, &[RetryOn::Timeout]),
        (AttemptOutcome::Status(502), &[RetryOn::GatewayError, RetryOn::ServerError]),
        (AttemptOutcome::Status(503), &[RetryOn::GatewayError, RetryOn::ServerError]),
        (AttemptOutcome::Status(504), &[RetryOn::GatewayError, RetryOn::ServerError]),
    ];
    for (outcome, enough) in cases {
        for on in [RetryOn::Reset, RetryOn::Timeout, RetryOn::GatewayError, RetryOn::ServerError] {
            let wanted = if enough.contains(&on) { Ok(()) } else { Err(Reason::NotIdempotent) };
            let attempt = AttemptReport { idempotent: false, retry_on: &[on], ..attempt(outcome) };
            assert_eq!(attempt.may_retry(), wanted, "{outcome:?} {on:?}");
        }
    }
    let server_error = AttemptReport { retry_on: &[RetryOn::ServerError], ..attempt(AttemptOutcome::Status(500)) };
    assert_eq!(server_error.may_retry(), Ok(()));
    assert_eq!(AttemptReport { idempotent: false, ..server_error }.may_retry(), Ok(()));
}

#[test]
fn what_never_left_is_repeated_whatever_it_is() {
    let worst =
        AttemptReport { idempotent: false, replayable: false, sent: false, ..attempt(AttemptOutcome::ConnectFailed) };
    assert_eq!(worst.may_retry(), Ok(()));
    let refused = AttemptReport { outcome: AttemptOutcome::Reset, ..worst };
    assert_eq!(AttemptReport { replayable: true, ..refused }.may_retry(), Ok(()));
    // An instance may refuse a stream while its body is being sent.
    assert_eq!(refused.may_retry(), Err(Reason::NotReplayable));
    assert_eq!(
        AttemptReport { outcome: AttemptOutcome::Reset, sent: true, ..worst }.may_retry(),
        Err(Reason::NotIdempotent)
    );
}

#[test]
fn what_left_over_a_connection_that_died_is_not_taken_for_what_never_left() {
    let sent = AttemptReport { idempotent: false, ..attempt(AttemptOutcome::ConnectFailed) };
    assert_eq!(sent.may_retry(), Err(Reason::NotIdempotent));
    assert_eq!(AttemptReport { retry_on: &[RetryOn::Reset], ..sent }.may_retry(), Ok(()));
    let again = AttemptReport { idempotent: true, ..sent };
    assert_eq!(again.may_retry(), Ok(()));
    assert_eq!(AttemptReport { replayable: false, ..again }.may_retry(), Err(Reason::NotReplayable));
    // It may have put load on an instance, so it counts against the budget.
    assert_eq!(budgeted(0.0).retry(&again, at(0.0), 1), RetryVerdict::GiveUp(Reason::Budget));
}

#[test]
fn a_retry_that_would_come_too_late_costs_nothing() {
    let service = budgeted(1.0);
    let late = AttemptReport { last: Some(at(0.0)), ..attempt(AttemptOutcome::Reset) };
    for random in 0..100 {
        assert_eq!(service.retry(&late, at(0.0), random), RetryVerdict::GiveUp(Reason::TooLate));
    }
    let in_time = AttemptReport { last: Some(at(1.0)), ..late };
    assert!(matches!(service.retry(&in_time, at(0.0), 1), RetryVerdict::Again(_)));
    assert_eq!(service.retry(&in_time, at(0.0), 1), RetryVerdict::GiveUp(Reason::Budget));
}

#[test]
fn a_body_that_is_gone_ends_it() {
    assert_eq!(
        AttemptReport { replayable: false, ..attempt(AttemptOutcome::Timeout) }.may_retry(),
        Err(Reason::NotReplayable)
    );
}

#[test]
fn as_many_retries_as_the_route_has() {
    let last =
        |number, retries| AttemptReport { number, retries, ..attempt(AttemptOutcome::ConnectFailed) }.may_retry();
    assert_eq!(last(3, 3), Ok(()));
    assert_eq!(last(4, 3), Err(Reason::Exhausted));
    assert_eq!(last(1, 0), Err(Reason::Exhausted));
}

#[test]
fn back_off_doubles_up_to_a_second_and_is_anything_below() {
    for (number, millis) in [(1, 25), (2, 50), (3, 100), (6, 800), (7, 1000), (40, 1000), (u32::MAX, 1000)] {
        let ceiling = Duration::from_millis(millis);
        let waits: Vec<_> = (0..2000).map(|random| back_off(number, random)).collect();
        assert!(waits.iter().all(|wait| *wait < ceiling));
        let mean = waits.iter().sum::<Duration>() / 2000;
        assert!(mean > ceiling * 45 / 100 && mean < ceiling * 55 / 100, "{mean:?} of {ceiling:?}");
    }
}

fn budgeted(min_per_second: f64) -> ServiceState {
    let retry_budget = RetryBudget { ratio: 0.2, min_per_second };
    build(&plan::ServicePlan { retry_budget, ..plan("round_robin", &[1, 1]) })
}

/// Sends a request whose attempts all fail; returns the number of attempts.
fn doomed(service: &ServiceState, seconds: f64, random: u64) -> u32 {
    let mut avoid = Tried::default();
    for number in 1.. {
        let picked = service.pick(&PickInput { avoid: &avoid, ..input(at(seconds), random) }).unwrap();
        avoid.insert(picked.index);
        picked.finish(at(seconds), AttemptOutcome::Reset, Duration::ZERO);
        let attempt = AttemptReport { number, retries: 3, ..attempt(AttemptOutcome::Reset) };
        if let RetryVerdict::GiveUp(_) = service.retry(&attempt, at(seconds), random) {
            return number;
        }
    }
    unreachable!()
}

#[test]
fn no_storm_when_every_attempt_fails() {
    for min_per_second in [0.0, 10.0] {
        for rate in [200.0, 10_000.0] {
            let service = budgeted(min_per_second);
            let attempts: u32 =
                (0..5000_u32).map(|number| doomed(&service, f64::from(number) / rate, number.into())).sum();
            assert!((5900..6250).contains(&attempts), "{attempts} of 5000 at {rate}");
        }
    }
}

#[test]
fn no_storm_over_workers() {
    for workers in [2, 4] {
        let service = budgeted(0.0);
        let work = |worker| {
            (0..4000 / workers as u64).map(|number| doomed(&service, 0.0, mix(number) ^ worker as u64)).sum::<u32>()
        };
        let attempts = threads(workers, work).into_iter().sum::<u32>();
        assert!((4700..=4800).contains(&attempts), "{attempts} of 4000");
    }
}

#[test]
fn a_good_past_pays_for_ten_seconds_of_it_at_most() {
    let service = budgeted(0.0);
    for number in 0..36_000_u32 {
        let picked = service.pick(&input(at(f64::from(number) / 10.0), 0)).unwrap();
        picked.finish(at(f64::from(number) / 10.0), AttemptOutcome::Status(200), Duration::ZERO);
    }
    let attempts: u32 = (0..100).map(|number| doomed(&service, 3600.0, number)).sum();
    assert!((120..=142).contains(&attempts), "{attempts} of 100, with 100 good ones in the last ten seconds");
}

#[test]
fn a_quiet_service_may_retry_a_few_times_per_second() {
    let service = budgeted(2.0);
    assert_eq!(doomed(&service, 0.0, 0), 3);
    assert_eq!(doomed(&service, 0.0, 0), 1);
    assert_eq!(doomed(&service, 0.5, 0), 2);
    assert_eq!(doomed(&service, 60.0, 0), 3);
    assert_eq!(doomed(&budgeted(0.01), 0.0, 0), 2, "a share of a second still makes one");
}

#[test]
fn a_reload_does_not_refill_the_budget() {
    let service = budgeted(5.0);
    while doomed(&service, 0.0, 0) > 1 {}
    let retry_budget = RetryBudget { ratio: 0.2, min_per_second: 5.0 };
    let next = plan::ServicePlan { retry_budget, ..plan("round_robin", &[1]) };
    let next = ServiceState::build(&next, Some(&service), at(0.0)).unwrap();
    assert_eq!(doomed(&next, 0.0, 0), 1);
    assert!(next.snapshot(at(0.0)).retries_refused > 0);
}

#[test]
fn what_reached_no_instance_is_not_charged_to_the_budget() {
    let service = budgeted(0.0);
    for number in 1..=50 {
        let refused = AttemptReport { number, retries: 50, sent: false, ..attempt(AttemptOutcome::ConnectFailed) };
        assert!(matches!(service.retry(&refused, at(0.0), 1), RetryVerdict::Again(_)), "{number}");
    }
    assert_eq!(service.retry(&attempt(AttemptOutcome::Reset), at(0.0), 1), RetryVerdict::GiveUp(Reason::Budget));
}

#[test]
fn only_ports_may_be_there_for_another_instance() {
    let verdict = |what, instances: usize, number| {
        let service = build(&plan("round_robin", &vec![1; instances]));
        let attempt =
            AttemptReport { number, sent: false, idempotent: false, ..attempt(AttemptOutcome::Shortage(what)) };
        match service.retry(&attempt, at(0.0), 0) {
            RetryVerdict::Again(_) => None,
            RetryVerdict::GiveUp(reason) => Some(reason),
        }
    };
    assert_eq!(verdict(Shortage::Ports, 2, 1), None);
    assert_eq!(verdict(Shortage::Ports, 2, 2), Some(Reason::NoOther));
    assert_eq!(verdict(Shortage::Ports, 1, 1), Some(Reason::NoOther));
    assert_eq!(verdict(Shortage::Descriptors, 2, 1), Some(Reason::NoFailure));
    assert_eq!(verdict(Shortage::Memory, 2, 1), Some(Reason::NoFailure));
}
