use std::time::Duration;

use proptest::prelude::*;

use super::{Change, Event};
use crate::clock::Instant as Now;
use crate::plan::{self, HealthCheck, PassiveHealth};
use crate::service::fixture::{at, build, exchange, health_check, input, passive, plan, threads};
use crate::service::outcome::AttemptEnd;
use crate::service::{AttemptOutcome, Picked, ServiceState, Unavailable};

const GOOD: AttemptOutcome = AttemptOutcome::Status(200);
const BAD: AttemptOutcome = AttemptOutcome::Status(500);

fn service(count: usize, active: Option<HealthCheck>, passive: Option<PassiveHealth>) -> ServiceState {
    let plan = plan("round_robin", &vec![1; count]);
    build(&plan::ServicePlan { health_check: active, passive_health: passive, ..plan })
}

fn events(changes: impl IntoIterator<Item = Change>) -> Vec<Event> {
    changes.into_iter().map(|change| change.event).collect()
}

/// Reports an outcome for one given instance.
fn outcome(service: &ServiceState, index: usize, now: Now, outcome: AttemptOutcome) -> Vec<Event> {
    events(service.report(index, None, now, AttemptEnd { began: now, outcome, latency: Duration::from_millis(1) }))
}

fn states(service: &ServiceState, now: Now) -> Vec<&'static str> {
    service.snapshot(now).instances.iter().map(|instance| instance.state).collect()
}

#[test]
fn checks_take_an_instance_down_and_up() {
    let rules = HealthCheck { healthy_after: 2, unhealthy_after: 3, ..health_check() };
    let service = service(2, Some(rules), None);
    let check = |ok| service.active_result(1, at(0.0), ok, if ok { "200" } else { "refused" });
    assert_eq!([false, false, true, false, false].map(check), [None, None, None, None, None]);
    let down = check(false).unwrap();
    assert_eq!((down.event, &*down.reason), (Event::Down, "3 failed checks, the last: refused"));
    assert_eq!((&*down.service, down.instance.as_deref()), ("shop", Some("http://i1:80")));
    assert_eq!(states(&service, at(0.0)), ["up", "down"]);
    assert!((0..5).all(|_| exchange(&service, at(0.0), GOOD).unwrap().0 == 0));
    assert_eq!([false, true, false, true].map(check), [None, None, None, None]);
    assert_eq!(check(true).unwrap().event, Event::Up);
    assert_eq!(check(true), None);
    assert_eq!(states(&service, at(0.0)), ["up", "up"]);
}

#[test]
fn checks_without_rules_or_instance_mean_nothing() {
    assert_eq!(service(1, None, None).active_result(0, at(0.0), false, "refused"), None);
    assert_eq!(service(1, Some(health_check()), None).active_result(7, at(0.0), false, "refused"), None);
}

#[test]
fn what_ejects() {
    for (end, ejects) in [
        (AttemptOutcome::ConnectFailed, true),
        (AttemptOutcome::Timeout, true),
        (AttemptOutcome::Reset, true),
        (AttemptOutcome::Status(500), true),
        (AttemptOutcome::Status(599), true),
        (AttemptOutcome::Status(404), false),
        (AttemptOutcome::Cancelled, false),
    ] {
        let service = service(2, None, Some(passive()));
        for _ in 0..6 {
            exchange(&service, at(0.0), end).unwrap();
        }
        assert_eq!(states(&service, at(0.0)).contains(&"ejected"), ejects, "{end:?}");
    }
}

#[test]
fn an_ejection_is_told_with_its_reason_and_ends() {
    let service = service(2, None, Some(passive()));
    assert_eq!(outcome(&service, 0, at(0.0), BAD), []);
    assert_eq!(outcome(&service, 0, at(0.0), GOOD), []);
    assert_eq!([(); 2].map(|()| outcome(&service, 0, at(0.0), BAD)), [[], []]);
    let end = AttemptEnd { began: at(0.0), outcome: AttemptOutcome::ConnectFailed, latency: Duration::ZERO };
    let changes = service.report(0, None, at(0.0), end);
    assert_eq!(changes[0].reason, "3 failures in a row, the last: no connection; for 10 s");
    assert!((0..5).all(|_| exchange(&service, at(9.9), GOOD).unwrap().0 == 1));
    assert_eq!(events(service.tick(at(9.9))), []);
    assert_eq!(states(&service, at(10.0)), ["up", "up"], "without anybody telling");
    assert_eq!(events(service.tick(at(10.0))), [Event::Returned]);
    assert_eq!(events(service.tick(at(10.0))), []);
}

#[test]
fn each_ejection_lasts_longer_until_it_behaves() {
    let service = service(2, None, Some(passive()));
    let eject = |now| {
        assert_eq!([(); 3].map(|()| outcome(&service, 0, at(now), BAD)).concat().last(), Some(&Event::Ejected));
    };
    let returns = |now| {
        assert_eq!(events(service.tick(at(now - 0.1))), []);
        assert_eq!(events(service.tick(at(now))), [Event::Returned]);
    };
    eject(0.0);
    returns(10.0);
    eject(11.0);
    returns(31.0);
    eject(32.0);
    returns(57.0);
    eject(57.0 + 26.0);
    returns(83.0 + 10.0);
}

#[test]
fn never_more_than_the_share_is_ejected() {
    for (count, most) in [(1, 0), (2, 1), (3, 1), (4, 2), (7, 3)] {
        for workers in [1, 4] {
            let service = service(count, None, Some(passive()));
            let fail = |_| {
                for round in 0..count * 10 {
                    outcome(&service, round % count, at(0.0), BAD);
                }
            };
            threads(workers, fail);
            let ejected = states(&service, at(0.0)).iter().filter(|state| **state == "ejected").count();
            assert_eq!(ejected, most, "of {count}");
        }
    }
}

#[test]
fn all_down_is_unavailable_unless_there_is_panic() {
    let plan = plan("round_robin", &[1, 1, 1, 1]);
    let mut plan = plan::ServicePlan { health_check: Some(health_check()), ..plan };
    let calm = build(&plan);
    plan.panic_threshold = Some(0.5);
    let nervous = build(&plan);
    for service in [&calm, &nervous] {
        for index in 0..2 {
            service.active_result(index, at(0.0), false, "refused");
        }
        assert!((0..8).all(|_| exchange(service, at(0.0), GOOD).unwrap().0 >= 2));
        service.active_result(2, at(0.0), false, "refused");
    }
    assert!((0..8).all(|_| exchange(&calm, at(0.0), GOOD).unwrap().0 == 3));
    let used: Vec<_> = (0..4).map(|_| exchange(&nervous, at(0.0), GOOD).unwrap().0).collect();
    assert_eq!(used, [2, 3, 0, 1].map(|index| used[0].wrapping_add(index + 2) % 4), "all, in turn");
    calm.active_result(3, at(0.0), false, "refused");
    assert_eq!(calm.pick(&input(at(0.0), 0)).unwrap_err(), Unavailable::AllUnhealthy);
    nervous.active_result(3, at(0.0), false, "refused");
    nervous.set_draining(0, at(0.0), true);
    assert!((0..8).all(|_| exchange(&nervous, at(0.0), GOOD).unwrap().0 != 0), "panic does not end draining");
}

#[test]
fn a_draining_instance_finishes_what_it_has() {
    let service = service(2, None, None);
    let held: Vec<_> = (0..2).map(|_| service.pick(&input(at(0.0), 0)).unwrap()).collect();
    assert_eq!(service.set_draining(0, at(0.0), true).unwrap().event, Event::Draining);
    assert_eq!(service.set_draining(0, at(0.0), true), None);
    assert!((0..4).all(|_| exchange(&service, at(0.0), GOOD).unwrap().0 == 1));
    let draining = service.instances().next().unwrap().clone();
    assert_eq!((draining.is_draining(), draining.in_flight()), (true, 1));
    drop(held);
    assert_eq!(draining.in_flight(), 0);
    assert_eq!(service.set_draining(0, at(0.0), false).unwrap().event, Event::Resumed);
    assert_eq!(states(&service, at(0.0)), ["up", "up"]);
}

/// Attempts at the first instance, in flight.
fn begun(service: &ServiceState, count: usize, now: Now) -> Vec<Picked<'_>> {
    let all = std::iter::repeat_with(|| service.pick(&input(now, 0)).unwrap());
    all.filter(|picked| picked.index == 0).take(count).collect()
}

fn finished(attempts: impl IntoIterator<Item = Picked<'static>>, now: Now, outcome: AttemptOutcome) -> Vec<Event> {
    events(attempts.into_iter().flat_map(|picked| picked.finish(now, outcome, Duration::ZERO)))
}

#[test]
fn what_began_before_an_ejection_has_no_say_behind_it() {
    let service: &'static ServiceState = Box::leak(Box::new(service(2, None, Some(passive()))));
    let mut old = begun(service, 7, at(0.0));
    assert_eq!(finished(old.drain(..3), at(1.0), BAD), [Event::Ejected]);
    assert_eq!(finished(old.drain(..3), at(11.5), BAD), []);
    assert_eq!(states(service, at(11.5)), ["up", "up"]);
    // Nor does an old success clear later failures.
    assert_eq!(finished(begun(service, 2, at(11.5)), at(12.0), BAD), [Event::Returned]);
    assert_eq!(finished(old, at(12.0), GOOD), []);
    assert_eq!(finished(begun(service, 1, at(12.0)), at(12.0), BAD), [Event::Ejected]);
}

#[test]
fn what_began_before_it_came_up_has_no_say_behind_it() {
    let rules = || (Some(health_check()), Some(passive()));
    for resumed in [false, true] {
        let service: &'static ServiceState = Box::leak(Box::new(service(2, rules().0, rules().1)));
        let mut old = begun(service, 5, at(0.0));
        assert_eq!(finished(old.drain(..2), at(0.0), BAD), []);
        if resumed {
            service.set_draining(0, at(1.0), true);
            service.set_draining(0, at(2.0), false);
        } else {
            service.active_result(0, at(1.0), false, "refused");
            service.active_result(0, at(2.0), true, "200");
        }
        assert_eq!(finished(old, at(3.0), BAD), []);
        assert_eq!(finished(begun(service, 2, at(3.0)), at(3.0), BAD), [], "a row begins anew");
        assert_eq!(finished(begun(service, 1, at(3.0)), at(3.0), BAD), [Event::Ejected]);
    }
}

#[test]
fn an_answer_from_before_that_breaks_off_recalls_nothing() {
    let service: &'static ServiceState = Box::leak(Box::new(service(2, Some(health_check()), Some(passive()))));
    assert_eq!(finished(begun(service, 2, at(0.0)), at(0.0), BAD), []);
    let mut old = begun(service, 1, at(0.0)).remove(0);
    old.report(at(0.0), GOOD, Duration::ZERO);
    service.active_result(0, at(1.0), false, "refused");
    service.active_result(0, at(2.0), true, "200");
    assert_eq!(old.report(at(3.0), AttemptOutcome::Reset, Duration::ZERO), []);
    drop(old);
    assert_eq!(finished(begun(service, 2, at(3.0)), at(3.0), BAD), []);
}

/// A single-threaded model of an instance.
#[derive(Clone, Debug, Default)]
struct Model {
    good: u32,
    bad: u32,
    down: bool,
    streak: u32,
    out_until: Option<Now>,
    last_end: Option<Now>,
    ejections: u32,
}

impl Model {
    fn check(&mut self, rules: &HealthCheck, ok: bool) -> Option<Event> {
        (self.good, self.bad) = if ok { (self.good + 1, 0) } else { (0, self.bad + 1) };
        match self.down {
            true if self.good >= rules.healthy_after => (self.down, self.streak) = (false, 0),
            false if self.bad >= rules.unhealthy_after => self.down = true,
            _ => return None,
        }
        Some(if ok { Event::Up } else { Event::Down })
    }

    fn is_out(&self, now: Now) -> bool {
        self.out_until.is_some_and(|until| now < until)
    }

    fn tick(&mut self, now: Now) -> Option<Event> {
        let over = self.out_until.is_some_and(|until| now >= until);
        if over {
            (self.out_until, self.streak) = (None, 0);
        }
        over.then_some(Event::Returned)
    }

    fn outcome(&mut self, rules: &PassiveHealth, others_out: usize, count: usize, now: Now, bad: bool) -> Vec<Event> {
        if !bad {
            self.streak = 0;
            return Vec::new();
        }
        if self.is_out(now) {
            return Vec::new();
        }
        let mut events: Vec<_> = self.tick(now).into_iter().collect();
        self.streak += 1;
        if self.streak >= rules.failures && 2 * (others_out + 1) <= count {
            if self.last_end.is_some_and(|end| now.since(end) > rules.max_ejection.0) {
                self.ejections = 0;
            }
            self.ejections += 1;
            let until = now.saturating_add((rules.ejection.0 * self.ejections).min(rules.max_ejection.0));
            (self.out_until, self.last_end, self.streak) = (Some(until), Some(until), 0);
            events.push(Event::Ejected);
        }
        events
    }
}

#[derive(Clone, Debug)]
enum Step {
    Outcome(usize, bool),
    Check(usize, bool),
    Tick,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0_usize..4, prop::bool::weighted(0.7)).prop_map(|(index, bad)| Step::Outcome(index, bad)),
        2 => (0_usize..4, any::<bool>()).prop_map(|(index, ok)| Step::Check(index, ok)),
        1 => Just(Step::Tick),
        1 => (0_u64..15_000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn behaves_like_the_model(steps in steps(), count in 1_usize..5) {
        let active = HealthCheck { healthy_after: 2, unhealthy_after: 3, ..health_check() };
        let passive = passive();
        let service = service(count, Some(active.clone()), Some(passive.clone()));
        let mut models = vec![Model::default(); count];
        let mut now = at(0.0);
        for step in steps {
            match step {
                Step::Wait(millis) => now = now.saturating_add(Duration::from_millis(millis)),
                Step::Tick => {
                    let wanted: Vec<_> = models.iter_mut().filter_map(|model| model.tick(now)).collect();
                    prop_assert_eq!(events(service.tick(now)), wanted);
                }
                Step::Check(index, ok) => {
                    let index = index % count;
                    let wanted = models[index].check(&active, ok);
                    prop_assert_eq!(service.active_result(index, now, ok, "").map(|change| change.event), wanted);
                }
                Step::Outcome(index, bad) => {
                    let index = index % count;
                    let others = models.iter().enumerate().filter(|(at, model)| *at != index && model.is_out(now)).count();
                    let wanted = models[index].outcome(&passive, others, count, now, bad);
                    prop_assert_eq!(outcome(&service, index, now, if bad { BAD } else { GOOD }), wanted);
                }
            }
            let wanted = |model: &Model| if model.down { "down" } else if model.is_out(now) { "ejected" } else { "up" };
            prop_assert_eq!(states(&service, now), models.iter().map(wanted).collect::<Vec<_>>());
            prop_assert!(models.iter().filter(|model| model.is_out(now)).count() * 2 <= count);
        }
    }
}
