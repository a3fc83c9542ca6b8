use crate::plan::{self, BreakerScope};
use crate::service::fixture::{at, breaker, build, exchange, health_check, input, plan};
use crate::service::{AttemptOutcome, PickInput, Tried};

#[test]
fn an_explanation_picks_what_the_next_pick_picks_and_changes_nothing() {
    for balancer in ["weighted_round_robin", "random", "ip_hash", "p2c"] {
        let service = build(&plan(balancer, &[3, 2, 1]));
        for number in 0..50 {
            let input = PickInput { hash: Some(number * 77), ..input(at(0.0), number) };
            let first = service.explain_pick(&input);
            assert_eq!(first, service.explain_pick(&input));
            let picked = service.pick(&input).unwrap();
            assert_eq!(first.picked.as_deref(), Some(picked.instance().url()));
        }
    }
}

#[test]
fn an_explanation_says_why() {
    let plan = plan::ServicePlan {
        health_check: Some(health_check()),
        circuit_breaker: Some(breaker(BreakerScope::Instance)),
        ..plan("round_robin", &[1, 1, 1])
    };
    let service = build(&plan);
    for _ in 0..15 {
        exchange(&service, at(0.0), AttemptOutcome::Reset).ok();
    }
    service.active_result(0, at(1.0), false, "refused");
    service.set_draining(1, at(1.0), true);
    let explained = service.explain_pick(&input(at(1.0), 0));
    assert_eq!(explained.balancer, "round_robin");
    assert_eq!(explained.picked, None);
    assert_eq!(explained.unavailable.as_deref(), Some("the circuit breaker is open"));
    assert_eq!(
        explained.candidates.iter().map(|one| one.note).collect::<Vec<_>>(),
        ["down", "draining", "its breaker is open"]
    );
    assert!(explained.candidates.iter().all(|one| !one.usable));
    let open = explained.candidates[2].stats.breaker.as_ref().unwrap();
    assert!((open.open_for - 59.0).abs() < 1e-6);
}

#[test]
fn an_explanation_tells_of_tried_ones() {
    let service = build(&plan("round_robin", &[1, 1]));
    let mut avoid = Tried::default();
    avoid.insert(0);
    let explained = service.explain_pick(&PickInput { avoid: &avoid, ..input(at(0.0), 0) });
    assert_eq!(explained.picked.as_deref(), Some("http://i1:80"));
    assert_eq!(explained.candidates[0].note, "tried already: only if there is no other");
}

#[test]
fn statistics_are_json() {
    let service =
        build(&plan::ServicePlan { circuit_breaker: Some(breaker(BreakerScope::Service)), ..plan("p2c", &[2]) });
    exchange(&service, at(0.0), AttemptOutcome::Status(500)).unwrap();
    let _held = service.pick(&input(at(0.0), 0)).unwrap();
    let json = serde_json::to_value(service.snapshot(at(0.0))).unwrap();
    let wanted = serde_json::json!({
        "name": "shop", "entered": 0, "waiting": 0, "retries": 0, "retries_refused": 0,
        "breaker": {"state": "closed", "open_for": 0.0, "reason": null},
        "instances": [{
            "url": "http://i0:80", "weight": 2, "state": "up", "readiness": 1.0, "in_flight": 1, "attempts": 2,
            "failures": 1, "latency": 0.01, "breaker": null,
        }],
    });
    assert_eq!(json, wanted);
}
