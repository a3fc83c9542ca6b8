use super::*;
use crate::Shortage;
use crate::plan::Sticky;
use crate::service::fixture::{at, breaker, build, exchange, health_check, input, passive, plan, seconds};

fn paths(plan: &plan::ServicePlan) -> Vec<String> {
    ServiceState::build(plan, None, at(0.0)).unwrap_err().into_iter().map(|problem| problem.path).collect()
}

#[test]
fn a_state_is_shared_by_threads() {
    const fn shared<T: Send + Sync>() {}
    shared::<ServiceState>();
    shared::<Picked<'_>>();
}

#[test]
fn all_problems_are_told_with_their_paths() {
    let mut plan = plan("round_robin", &[1, 0, 1, 1]);
    plan.instances[2].url = "ftp://i2".into();
    plan.instances[3].url = "http://i0/".into();
    plan.panic_threshold = Some(1.5);
    plan.retry_budget.min_per_second = f64::NAN;
    plan.max_in_flight = Some(0);
    plan.health_check = Some(plan::HealthCheck { interval: seconds(0.0), unhealthy_after: 0, ..health_check() });
    plan.passive_health = Some(plan::PassiveHealth { failures: 0, ..passive() });
    plan.circuit_breaker = Some(plan::CircuitBreaker { half_open_requests: 0, ..breaker(BreakerScope::Service) });
    let wanted = [
        "instances[1].weight",
        "panic_threshold",
        "retry_budget.min_per_second",
        "max_in_flight",
        "health_check.interval",
        "health_check.unhealthy_after",
        "passive_health.failures",
        "circuit_breaker.half_open_requests",
        "instances[2].url",
        "instances[3].url",
    ];
    assert_eq!(paths(&plan), wanted);
}

#[test]
fn the_number_of_instances_is_bounded() {
    let most = plan("weighted_round_robin", &vec![3; MAX_INSTANCES]);
    assert_eq!(build(&most).instances().len(), MAX_INSTANCES);
    assert_eq!(paths(&plan("round_robin", &vec![1; MAX_INSTANCES + 1])), ["instances"]);
}

#[test]
fn a_reload_hands_over_by_address() {
    let mut first = plan("round_robin", &[1, 1, 1]);
    first.health_check = Some(health_check());
    first.circuit_breaker = Some(breaker(BreakerScope::Service));
    let old = build(&first);
    let held: Vec<_> = (0..6).map(|_| old.pick(&input(at(0.0), 0)).unwrap()).collect();
    old.active_result(2, at(0.0), false, "refused");
    old.set_draining(1, at(0.0), true);
    for _ in 0..4 {
        exchange(&old, at(0.0), AttemptOutcome::Status(500)).unwrap();
    }
    let mut second = first.clone();
    second.instances.remove(0);
    second.instances.reverse();
    second.instances.push(plan::InstancePlan { url: "http://i7:80".into(), weight: 1 });
    let new = ServiceState::build(&second, Some(&old), at(1.0)).unwrap();
    let stats = new.snapshot(at(1.0));
    let seen: Vec<_> = stats.instances.iter().map(|one| (&*one.url, one.state, one.in_flight)).collect();
    assert_eq!(seen, [("http://i2:80", "down", 2), ("http://i1:80", "draining", 2), ("http://i7:80", "up", 0)]);
    let (index, changes) = exchange(&new, at(1.0), AttemptOutcome::Status(500)).unwrap();
    assert_eq!((index, changes[0].event), (2, Event::BreakerOpened), "four failures before, one behind");
    assert!(old.pick(&input(at(1.0), 0)).is_err(), "exchanges of the old snapshot see the same breaker");
    drop(held);
    assert!(new.instances().all(|instance| instance.in_flight() == 0));
}

#[test]
fn a_plan_that_does_not_build_changes_nothing() {
    let mut first = plan("round_robin", &[1, 1]);
    first.health_check = Some(health_check());
    let old = build(&first);
    old.active_result(0, at(0.0), false, "refused");
    let before = old.snapshot(at(0.0));
    let mut second = first.clone();
    second.health_check = None;
    second.instances[1].url = "nonsense".into();
    assert!(ServiceState::build(&second, Some(&old), at(0.0)).is_err());
    assert_eq!(old.snapshot(at(0.0)), before);
}

#[test]
fn health_that_is_no_longer_checked_is_not_heeded() {
    let mut plan = plan("round_robin", &[1, 1]);
    plan.health_check = Some(health_check());
    plan.passive_health = Some(passive());
    let old = build(&plan);
    old.active_result(0, at(0.0), false, "refused");
    for _ in 0..3 {
        exchange(&old, at(0.0), AttemptOutcome::Reset).unwrap();
    }
    plan.health_check = None;
    plan.passive_health = None;
    let new = ServiceState::build(&plan, Some(&old), at(0.0)).unwrap();
    assert!(new.snapshot(at(0.0)).instances.iter().all(|one| one.state == "up"));
}

#[test]
fn turns_go_on_over_a_reload() {
    let plan = plan("round_robin", &[1, 1, 1]);
    let old = build(&plan);
    assert_eq!(exchange(&old, at(0.0), AttemptOutcome::Status(200)).unwrap().0, 0);
    let new = ServiceState::build(&plan, Some(&old), at(0.0)).unwrap();
    assert_eq!(exchange(&new, at(0.0), AttemptOutcome::Status(200)).unwrap().0, 1);
}

fn sticky(secret: Option<&str>) -> plan::ServicePlan {
    let sticky = Sticky { cookie: "s".into(), ttl: None, secret: secret.map(Into::into) };
    plan::ServicePlan { sticky: Some(sticky), ..plan("round_robin", &[1, 1, 1]) }
}

#[test]
fn a_client_stays_where_its_cookie_says() {
    let service = build(&sticky(None));
    let cookie = service.pick(&input(at(0.0), 0)).unwrap().sticky().unwrap();
    for _ in 0..5 {
        let picked = service.pick(&PickInput { sticky: Some(cookie), ..input(at(0.0), 0) }).unwrap();
        assert_eq!((picked.index, picked.sticky()), (0, None));
    }
    let next = ServiceState::build(&sticky(None), None, at(0.0)).unwrap();
    assert_eq!(next.pick(&PickInput { sticky: Some(cookie), ..input(at(0.0), 0) }).unwrap().index, 0, "over a restart");
}

#[test]
fn a_client_moves_when_it_must() {
    let service = build(&sticky(None));
    let cookie = service.pick(&input(at(0.0), 0)).unwrap().sticky().unwrap();
    let mut avoid = Tried::default();
    avoid.insert(0);
    let picked = service.pick(&PickInput { sticky: Some(cookie), avoid: &avoid, ..input(at(0.0), 0) }).unwrap();
    assert!(picked.index != 0 && picked.sticky().is_some_and(|other| other != cookie));
    service.set_draining(0, at(0.0), true);
    assert_ne!(service.pick(&PickInput { sticky: Some(cookie), ..input(at(0.0), 0) }).unwrap().index, 0);
}

#[test]
fn cookies_of_others_are_ignored() {
    let service = build(&sticky(Some("secret")));
    let foreign = build(&sticky(None)).pick(&input(at(0.0), 0)).unwrap().sticky();
    let used: Vec<_> = (0..3)
        .map(|_| service.pick(&PickInput { sticky: foreign, ..input(at(0.0), 0) }).unwrap())
        .map(|picked| (picked.index, picked.sticky().is_some()))
        .collect();
    assert_eq!(used, [(0, true), (1, true), (2, true)]);
    let plain = build(&plan("round_robin", &[1]));
    assert_eq!(plain.pick(&input(at(0.0), 0)).unwrap().sticky(), None, "no cookie where none is wanted");
}

#[test]
fn tried_remembers_the_last_eight() {
    let mut tried = Tried::default();
    assert!(tried.is_empty());
    for index in [5, 5, 0, 1, 2, 3, 4, 6, 7, 4000] {
        tried.insert(index);
        assert!(tried.contains(index));
    }
    assert!(!tried.contains(5) && tried.contains(0) && !tried.is_empty());
}

#[test]
fn a_retry_goes_to_another_instance_where_there_is_one() {
    for instances in [1, 2, 5] {
        let service = build(&plan("random", &vec![1; instances]));
        let mut tried = Tried::default();
        for number in 0..instances {
            let picked = service.pick(&PickInput { avoid: &tried, ..input(at(0.0), number as u64) }).unwrap();
            assert!(!tried.contains(picked.index));
            tried.insert(picked.index);
        }
        assert!(service.pick(&PickInput { avoid: &tried, ..input(at(0.0), 0) }).is_ok());
    }
}

#[test]
fn an_answer_that_breaks_off_ends_no_row_of_failures() {
    let mut plan = plan("round_robin", &[1, 1]);
    plan.passive_health = Some(plan::PassiveHealth { failures: 3, ..passive() });
    plan.circuit_breaker = Some(breaker(BreakerScope::Instance));
    let service = build(&plan);
    let broken = |now| {
        let mut avoid = Tried::default();
        avoid.insert(1);
        let mut picked = service.pick(&PickInput { avoid: &avoid, ..input(now, 0) }).unwrap();
        assert!(picked.report(now, AttemptOutcome::Status(200), Duration::ZERO).is_empty());
        picked
            .finish(now, AttemptOutcome::Reset, Duration::ZERO)
            .into_iter()
            .map(|change| change.event)
            .collect::<Vec<_>>()
    };
    assert_eq!((0..3).map(|_| broken(at(0.0))).collect::<Vec<_>>(), [vec![], vec![], vec![Event::Ejected]]);
    // The ejection ends; two more open the breaker, whose threshold is five.
    let later = at(1000.0);
    assert_eq!(broken(later), [Event::Returned]);
    assert_eq!(broken(later), [Event::BreakerOpened]);
}

#[test]
fn a_suspended_pick_is_in_flight_until_it_comes_back() {
    let mut plan = plan("round_robin", &[1]);
    plan.circuit_breaker = Some(plan::CircuitBreaker { failure_threshold: 1, ..breaker(BreakerScope::Service) });
    let service = build(&plan);
    let in_flight = || service.instances().next().unwrap().in_flight();
    let suspended = service.pick(&input(at(0.0), 0)).unwrap().suspend();
    assert_eq!(in_flight(), 1);
    drop(service.resume(suspended));
    assert_eq!(in_flight(), 0);
    let suspended = service.pick(&input(at(0.0), 0)).unwrap().suspend();
    let changes = service.resume(suspended).finish(at(1.0), AttemptOutcome::Reset, Duration::ZERO);
    assert_eq!(changes.iter().map(|change| change.event).collect::<Vec<_>>(), [Event::BreakerOpened]);
    assert_eq!(in_flight(), 0);
}

#[test]
fn what_the_gateway_lacks_counts_against_nobody() {
    for what in Shortage::ALL {
        let mut plan = plan("round_robin", &[1]);
        plan.passive_health = Some(plan::PassiveHealth { failures: 1, max_ejected: 1.0, ..passive() });
        plan.circuit_breaker = Some(plan::CircuitBreaker { failure_threshold: 1, ..breaker(BreakerScope::Service) });
        let service = build(&plan);
        for _ in 0..10 {
            let (_, changes) = exchange(&service, at(0.0), AttemptOutcome::Shortage(what)).unwrap();
            assert!(changes.is_empty(), "{what:?}: {changes:?}");
        }
        assert_eq!(service.snapshot(at(0.0)).instances[0].failures, 0);
        // A half-open breaker gets its permit back, so that the next attempt is a probe too.
        exchange(&service, at(1.0), AttemptOutcome::Reset).unwrap();
        for _ in 0..3 {
            assert!(exchange(&service, at(100.0), AttemptOutcome::Shortage(what)).is_ok(), "{what:?}");
        }
        let (_, changes) = exchange(&service, at(101.0), AttemptOutcome::Status(200)).unwrap();
        assert_eq!(changes.last().map(|change| change.event), Some(Event::BreakerClosed), "{what:?}");
    }
}
