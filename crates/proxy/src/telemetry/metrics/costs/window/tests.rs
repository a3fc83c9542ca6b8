use super::*;

fn hook(calls: u64, over_budget: u64, demoted: bool) -> HookFigures {
    HookFigures {
        hook: "check".to_owned(),
        route: "orders".to_owned(),
        run: Run::Worker,
        calls,
        failures: 0,
        timeouts: 0,
        worker_seconds: f64::from(u32::try_from(calls).unwrap()) / 100.0,
        away_seconds: 0.0,
        demoted,
        overdue: 0,
        refused: 0,
        budget: Some(0.005),
        over_budget,
    }
}

fn at(second: u64) -> Instant {
    Instant::from_nanos(second * 1_000_000_000)
}

fn costs(growth: &CostGrowth, second: u64, hooks: &[HookFigures]) -> Costs {
    growth.costs(at(second), spent(&[], hooks), hooks)
}

#[test]
fn the_last_minute_is_apart_from_what_was_before() {
    let mut growth = CostGrowth::new(at(0));
    growth.sample(at(5), spent(&[], &[hook(10, 0, false)]));
    let found = costs(&growth, 7, &[hook(12, 0, false)]);
    assert_eq!((found.window, found.costs[0].total.calls, found.costs[0].recent.calls), (7.0, 12, 12));
    for second in (10..=70).step_by(5) {
        growth.sample(at(second), spent(&[], &[hook(12, 0, false)]));
    }
    let found = costs(&growth, 71, &[hook(15, 0, false)]);
    let one = &found.costs[0];
    assert_eq!((one.total.calls, one.recent.calls, one.recent.seconds), (15, 3, Duration::from_millis(30)));
    assert!((55.0..=60.0).contains(&found.window), "{}", found.window);
    assert!(growth.intervals.len() <= 13);
}

#[test]
fn a_hook_that_was_replaced_begins_anew() {
    let mut growth = CostGrowth::new(at(0));
    growth.sample(at(5), spent(&[], &[hook(10, 0, false)]));
    assert_eq!(costs(&growth, 6, &[hook(4, 0, false)]).costs[0].recent.calls, 14);
}

#[test]
fn a_hook_over_its_budget_is_named_if_it_is_so_again_and_again() {
    let told = |hook: HookFigures| costs(&CostGrowth::new(at(0)), 1, &[hook]).over_budget().collect::<Vec<_>>();
    assert!(told(hook(2, 2, false)).is_empty());
    assert!(told(hook(100, 5, false)).is_empty());
    assert_eq!(
        told(hook(20, 3, false)),
        ["hook check on route orders kept a worker longer than its budget of 5ms in 3 of its last 20 calls"]
    );
    assert!(told(hook(2, 1, true))[0].ends_with("and was moved off the workers"));
    assert!(told(hook(20, 0, true)).is_empty(), "not within the last minute");
}
