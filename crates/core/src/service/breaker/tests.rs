use proptest::prelude::*;

use super::*;
use crate::plan::{BreakerScope, CircuitBreaker};
use crate::service::fixture::{at, breaker, build, exchange, input, plan, seconds, threads};
use crate::service::{AttemptOutcome, Event, Picked, ServiceState, Unavailable};

fn service(rules: CircuitBreaker, instances: usize) -> ServiceState {
    build(&plan::ServicePlan { circuit_breaker: Some(rules), ..plan("round_robin", &vec![1; instances]) })
}

fn textbook() -> ServiceState {
    service(breaker(BreakerScope::Service), 2)
}

fn fail(service: &ServiceState, now: Instant, times: usize) -> Vec<Event> {
    let one = |_| exchange(service, now, AttemptOutcome::Status(503)).unwrap().1;
    (0..times).flat_map(one).map(|change| change.event).collect()
}

fn refused(service: &ServiceState, now: Instant) -> Duration {
    match service.pick(&input(now, 0)) {
        Err(Unavailable::BreakerOpen { retry_after }) => retry_after,
        other => panic!("{other:?}"),
    }
}

#[test]
fn opens_after_five_failures_for_sixty_seconds_and_lets_one_probe_through() {
    let service = textbook();
    assert_eq!(fail(&service, at(0.0), 4), []);
    assert_eq!(fail(&service, at(1.0), 1), [Event::BreakerOpened]);
    assert_eq!(refused(&service, at(2.0)), Duration::from_secs(59));
    assert_eq!(refused(&service, at(60.9)), Duration::from_millis(100));
    let probe = service.pick(&input(at(61.0), 0)).unwrap();
    assert_eq!(refused(&service, at(61.0)), Duration::ZERO);
    let changes = probe.finish(at(61.5), AttemptOutcome::Status(200), Duration::ZERO);
    let events: Vec<_> = changes.iter().map(|change| change.event).collect();
    assert_eq!(events, [Event::BreakerHalfOpen, Event::BreakerClosed]);
    assert_eq!(fail(&service, at(62.0), 4), [], "the count starts anew");
}

#[test]
fn a_failed_probe_opens_it_again_for_the_whole_time() {
    let service = textbook();
    fail(&service, at(0.0), 5);
    assert_eq!(fail(&service, at(60.0), 1), [Event::BreakerHalfOpen, Event::BreakerOpened]);
    assert_eq!(refused(&service, at(60.0)), Duration::from_secs(60));
}

#[test]
fn a_success_starts_the_count_anew() {
    let service = textbook();
    for _ in 0..5 {
        assert_eq!(fail(&service, at(0.0), 4), []);
        exchange(&service, at(0.0), AttemptOutcome::Status(200)).unwrap();
    }
}

#[test]
fn what_counts_as_a_failure() {
    for (outcome, counts) in [
        (AttemptOutcome::ConnectFailed, true),
        (AttemptOutcome::Timeout, true),
        (AttemptOutcome::Reset, true),
        (AttemptOutcome::Status(500), true),
        (AttemptOutcome::Status(501), false),
        (AttemptOutcome::Status(504), true),
        (AttemptOutcome::Status(404), false),
        (AttemptOutcome::Cancelled, false),
    ] {
        let service = textbook();
        for _ in 0..5 {
            exchange(&service, at(0.0), outcome).unwrap();
        }
        assert_eq!(service.pick(&input(at(0.0), 0)).is_err(), counts, "{outcome:?}");
    }
}

#[test]
fn a_cancelled_exchange_neither_counts_nor_resets() {
    let service = textbook();
    fail(&service, at(0.0), 4);
    exchange(&service, at(0.0), AttemptOutcome::Cancelled).unwrap();
    assert_eq!(fail(&service, at(0.0), 1), [Event::BreakerOpened]);
}

#[test]
fn a_probe_that_vanishes_is_given_back() {
    let service = textbook();
    fail(&service, at(0.0), 5);
    for _ in 0..3 {
        let probe = service.pick(&input(at(60.0), 0)).unwrap();
        assert_eq!(refused(&service, at(60.0)), Duration::ZERO);
        drop(probe);
    }
    assert_eq!(fail(&service, at(60.0), 1), [Event::BreakerHalfOpen, Event::BreakerOpened]);
}

#[test]
fn a_probe_is_given_back_when_there_is_no_instance_for_it() {
    let service = textbook();
    fail(&service, at(0.0), 5);
    for index in 0..2 {
        service.set_draining(index, at(1.0), true);
    }
    assert_eq!(service.pick(&input(at(60.0), 0)).unwrap_err(), Unavailable::AllDraining);
    service.set_draining(0, at(60.0), false);
    assert!(service.pick(&input(at(60.0), 0)).is_ok());
}

#[test]
fn results_from_before_it_opened_have_no_say() {
    let service = textbook();
    let mut early: Vec<_> = (0..4).map(|_| service.pick(&input(at(0.0), 0)).unwrap()).collect();
    fail(&service, at(0.0), 5);
    assert_eq!(early.pop().unwrap().finish(at(1.0), AttemptOutcome::Status(200), Duration::ZERO), [], "while open");
    let probe = service.pick(&input(at(60.0), 0)).unwrap();
    service.tick(at(60.0));
    assert_eq!(
        early.pop().unwrap().finish(at(60.0), AttemptOutcome::Status(200), Duration::ZERO),
        [],
        "while half open"
    );
    drop(early.pop());
    assert_eq!(refused(&service, at(60.0)), Duration::ZERO, "the probe is still out");
    probe.finish(at(60.0), AttemptOutcome::Status(200), Duration::ZERO);
    fail(&service, at(61.0), 4);
    assert_eq!(early.pop().unwrap().finish(at(61.0), AttemptOutcome::Timeout, Duration::ZERO), [], "once closed");
}

#[test]
fn failures_seen_by_any_workers_open_it_for_all() {
    for workers in [1, 2, 4] {
        let service = service(CircuitBreaker { failure_threshold: 40, ..breaker(BreakerScope::Service) }, 2);
        let events: Vec<_> = threads(workers, |_| fail(&service, at(0.0), 40 / workers)).concat();
        assert_eq!(events, [Event::BreakerOpened], "exactly one tells");
        refused(&service, at(1.0));
    }
}

#[test]
fn exactly_the_probes_asked_for_pass_while_workers_race() {
    for probes in [1, 3] {
        for round in 0..50 {
            let rules = CircuitBreaker { half_open_requests: probes, ..breaker(BreakerScope::Service) };
            let service = service(rules, 3);
            fail(&service, at(0.0), 5);
            let race = |worker| {
                let picks = (0..20).filter_map(|number| {
                    // Some of the permits are released.
                    let picked = service.pick(&input(at(60.0), number)).ok()?;
                    if (number + worker as u64 + round).is_multiple_of(4) { None } else { Some(picked) }
                });
                picks.collect::<Vec<Picked<'_>>>()
            };
            let out: Vec<_> = threads(4, race).into_iter().flatten().collect();
            assert!(out.len() <= probes as usize);
            let rest: Vec<_> = std::iter::from_fn(|| service.pick(&input(at(60.0), 0)).ok()).collect();
            assert_eq!(out.len() + rest.len(), probes as usize);
        }
    }
}

#[test]
fn a_failure_rate_over_the_window_opens_it() {
    let rules = || CircuitBreaker {
        failure_threshold: 1000,
        failure_rate: Some(0.5),
        minimum_requests: 10,
        ..breaker(BreakerScope::Service)
    };
    let mixed = |service: &ServiceState, now, count: usize| {
        let outcome = |number: usize| AttemptOutcome::Status(if number.is_multiple_of(2) { 200 } else { 500 });
        let one = |number| exchange(service, now, outcome(number)).unwrap().1.len();
        (0..count).map(one).sum::<usize>()
    };
    let busy = service(rules(), 1);
    assert_eq!(mixed(&busy, at(0.0), 9), 0, "too few");
    assert_eq!(fail(&busy, at(9.0), 1), [Event::BreakerOpened], "five of ten within ten seconds");
    let slow = service(rules(), 1);
    assert_eq!(mixed(&slow, at(0.0), 9), 0);
    assert_eq!(fail(&slow, at(11.0), 9), [], "the first nine are forgotten");
    assert_eq!(fail(&slow, at(11.0), 1), [Event::BreakerOpened]);
}

#[test]
fn breakers_of_instances_are_apart() {
    let service = service(breaker(BreakerScope::Instance), 2);
    let outcome = |index| if index == 1 { AttemptOutcome::Reset } else { AttemptOutcome::Status(200) };
    let mut events = Vec::new();
    for _ in 0..10 {
        let picked = service.pick(&input(at(0.0), 0)).unwrap();
        let outcome = outcome(picked.index);
        events.extend(picked.finish(at(0.0), outcome, Duration::ZERO));
    }
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].instance.as_deref(), Some("http://i1:80"));
    assert!((0..10).all(|_| exchange(&service, at(1.0), AttemptOutcome::Status(200)).unwrap().0 == 0));
    let probed = (0..4).map(|_| service.pick(&input(at(60.0), 0)).unwrap()).collect::<Vec<_>>();
    assert_eq!(probed.iter().filter(|picked| picked.index == 1).count(), 1);
}

#[test]
fn all_instances_behind_open_breakers_are_unavailable() {
    let service = service(breaker(BreakerScope::Instance), 2);
    fail(&service, at(0.0), 8);
    fail(&service, at(2.0), 2);
    assert_eq!(refused(&service, at(3.0)), Duration::from_secs(59));
}

#[test]
fn going_half_open_is_told_by_the_tick_too() {
    let service = textbook();
    fail(&service, at(0.0), 5);
    let _probe = service.pick(&input(at(60.0), 0)).unwrap();
    assert_eq!(service.tick(at(60.0)).iter().map(|change| change.event).collect::<Vec<_>>(), [Event::BreakerHalfOpen]);
    assert_eq!(service.tick(at(60.0)), []);
}

/// A single-threaded model of the breaker.
#[derive(Debug)]
enum Model {
    Closed { failures: u32, results: Vec<(Instant, bool)> },
    Open { until: Instant },
    HalfOpen { out: u32 },
}

#[derive(Clone, Debug)]
enum Step {
    Admit,
    Settle(prop::sample::Index, bool),
    Release(prop::sample::Index),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Admit),
        4 => (any::<prop::sample::Index>(), prop::bool::weighted(0.4)).prop_map(|(which, ok)| Step::Settle(which, ok)),
        1 => any::<prop::sample::Index>().prop_map(Step::Release),
        2 => (0_u64..4000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..200)
}

struct Pair {
    rules: BreakerRules,
    breaker: Breaker,
    model: Model,
    period: u32,
    out: Vec<(BreakerPermit, u32)>,
    now: Instant,
}

impl Pair {
    fn enter(&mut self, model: Model) {
        self.model = model;
        self.period += 1;
    }

    fn admit(&mut self) {
        let wanted = match &mut self.model {
            Model::Closed { .. } => Ok(()),
            Model::Open { until } if self.now < *until => Err(until.since(self.now)),
            Model::Open { .. } => {
                self.enter(Model::HalfOpen { out: 1 });
                Ok(())
            }
            Model::HalfOpen { out } if *out < self.rules.probes => {
                *out += 1;
                Ok(())
            }
            Model::HalfOpen { .. } => Err(Duration::ZERO),
        };
        assert_eq!(self.breaker.ready(&self.rules, self.now), wanted);
        let permit = self.breaker.admit(&self.rules, self.now);
        assert_eq!(permit.as_ref().map(|_| ()).map_err(|left| *left), wanted);
        self.out.extend(permit.map(|permit| (permit, self.period)));
    }

    fn record(&mut self, which: prop::sample::Index, ok: bool) {
        let (permit, period) = self.out.swap_remove(which.index(self.out.len()));
        let reported = self.breaker.record(&self.rules, &permit, self.now, ok).map(|transition| transition.to);
        if period != self.period {
            assert_eq!(reported, None);
            return;
        }
        let slice = |time: Instant| time.as_nanos() / self.rules.slice;
        let opens = match &mut self.model {
            Model::Closed { failures, results } => {
                *failures = if ok { 0 } else { *failures + 1 };
                results.push((self.now, ok));
                results.retain(|(time, _)| slice(self.now) - slice(*time) < SLICES as u64);
                let bad = results.iter().filter(|(_, ok)| !ok).count();
                let rate = bad * 2 >= results.len() && results.len() >= self.rules.minimum as usize;
                !ok && (*failures >= self.rules.threshold || (self.rules.rate.is_some() && rate))
            }
            Model::HalfOpen { .. } if ok => {
                self.enter(Model::Closed { failures: 0, results: Vec::new() });
                assert_eq!(reported, Some(BreakerState::Closed));
                return;
            }
            Model::HalfOpen { .. } => true,
            Model::Open { .. } => unreachable!("nothing is admitted while open"),
        };
        assert_eq!(reported, opens.then_some(BreakerState::Open));
        if opens {
            self.enter(Model::Open { until: self.now.saturating_add(self.rules.timeout) });
        }
    }

    fn release(&mut self, which: prop::sample::Index) {
        let (permit, period) = self.out.swap_remove(which.index(self.out.len()));
        self.breaker.release(&permit);
        if let Model::HalfOpen { out } = &mut self.model
            && period == self.period
        {
            *out -= 1;
        }
    }
}

proptest! {
    #[test]
    fn behaves_like_the_model(
        steps in steps(), threshold in 1_u32..6, probes in 1_u32..4, rate in prop::option::of(Just(0.5)),
    ) {
        let rules = BreakerRules::from_plan(&CircuitBreaker {
            failure_threshold: threshold,
            failure_rate: rate,
            minimum_requests: 4,
            timeout: seconds(5.0),
            half_open_requests: probes,
            ..breaker(BreakerScope::Service)
        });
        let model = Model::Closed { failures: 0, results: Vec::new() };
        let mut pair = Pair { rules, breaker: Breaker::default(), model, period: 0, out: Vec::new(), now: at(0.0) };
        for step in steps {
            match step {
                Step::Wait(millis) => pair.now = pair.now.saturating_add(Duration::from_millis(millis)),
                Step::Admit => pair.admit(),
                _ if pair.out.is_empty() => {}
                Step::Settle(which, ok) => pair.record(which, ok),
                Step::Release(which) => pair.release(which),
            }
            let wanted = match pair.model {
                Model::Closed { .. } => BreakerState::Closed,
                Model::Open { .. } => BreakerState::Open,
                Model::HalfOpen { .. } => BreakerState::HalfOpen,
            };
            prop_assert_eq!(pair.breaker.position(pair.now).0, wanted);
        }
    }
}

#[test]
fn a_reset_closes_it_and_forgets_what_was_counted() {
    let service = textbook();
    fail(&service, at(0.0), 5);
    let changes = service.reset_breaker(None).unwrap();
    assert_eq!(changes.iter().map(|change| change.event).collect::<Vec<_>>(), [Event::BreakerClosed]);
    assert_eq!(fail(&service, at(1.0), 4), [], "the count starts anew");
    assert_eq!(service.reset_breaker(Some(1)), Some(vec![]), "it is closed");
    assert_eq!(fail(&service, at(1.0), 4), [], "what was counted before is forgotten");
    assert_eq!(fail(&service, at(1.0), 1), [Event::BreakerOpened]);
}

#[test]
fn a_probe_that_was_under_way_at_a_reset_has_no_say() {
    let service = textbook();
    fail(&service, at(0.0), 5);
    let probe = service.pick(&input(at(60.0), 0)).unwrap();
    assert_eq!(service.reset_breaker(None).map(|changes| changes.len()), Some(1));
    let changes = probe.finish(at(61.0), AttemptOutcome::Status(503), Duration::ZERO);
    assert_eq!(changes, []);
    assert!(service.pick(&input(at(61.0), 0)).is_ok());
}

#[test]
fn a_reset_of_one_instance_leaves_the_others_open() {
    let service = service(breaker(BreakerScope::Instance), 2);
    fail(&service, at(0.0), 10);
    refused(&service, at(1.0));
    let changes = service.reset_breaker(Some(1)).unwrap();
    assert_eq!(changes[0].instance.as_deref(), service.instances().nth(1).map(|instance| instance.url()));
    assert_eq!(service.pick(&input(at(1.0), 0)).unwrap().index, 1);
    assert_eq!(service.reset_breaker(None).map(|changes| changes.len()), Some(1));
    assert_eq!(build(&plan("round_robin", &[1])).reset_breaker(None), None, "there is none");
}
