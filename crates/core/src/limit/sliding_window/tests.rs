use proptest::prelude::*;

use super::*;

/// The simple model: every admission ever made.
#[derive(Default)]
struct Model {
    admitted: Vec<(u64, u32)>,
    latest: u64,
}

impl Model {
    fn used(&self, now: u64, per: u64) -> u64 {
        self.admitted.iter().filter(|(at, _)| now - at < per).map(|(_, cost)| u64::from(*cost)).sum()
    }

    fn admit(&mut self, now: u64, cost: u32) {
        self.admitted.push((now, cost));
    }

    /// Returns the most in any window of length `per`; the fullest one starts at an admission.
    fn fullest(&self, per: u64) -> u64 {
        let inside = |start: u64| move |(at, _): &&(u64, u32)| (start..start + per).contains(at);
        let sum = |start| self.admitted.iter().filter(inside(start)).map(|(_, cost)| u64::from(*cost)).sum();
        self.admitted.iter().map(|(start, _)| sum(*start)).max().unwrap_or(0)
    }
}

fn steps(per: u64) -> impl Strategy<Value = Vec<(i64, u32)>> {
    let per = i64::try_from(per).unwrap();
    let step = prop_oneof![Just(0), 0..=per / 8 + 1, 0..=2 * per, -per..=0, Just(1)];
    prop::collection::vec((step, prop_oneof![4 => Just(1_u32), 1 => 0..6_u32]), 1..150)
}

proptest! {
    #[test]
    fn decides_as_the_model(
        limit in 1..30_u32,
        (per, steps) in prop_oneof![1..40_u64, Just(1_000_000_007)].prop_flat_map(|per| (Just(per), steps(per)))
    ) {
        let mut window = SlidingWindow::new(limit, Duration::from_nanos(per)).unwrap();
        let mut model = Model::default();
        let mut now = 1_u64 << 40;
        for (step, cost) in steps {
            now = now.saturating_add_signed(step);
            model.latest = model.latest.max(now);
            let used = model.used(model.latest, per);
            let decision = window.check(Instant::from_nanos(now), cost);
            prop_assert_eq!(decision.admitted, used + u64::from(cost) <= u64::from(limit));
            if decision.admitted {
                model.admit(model.latest, cost);
            } else if cost <= limit {
                let wait = u64::try_from(decision.retry_after.as_nanos()).unwrap();
                let fits = |at: u64| model.used(at.max(model.latest), per) + u64::from(cost) <= u64::from(limit);
                prop_assert!(fits(now + wait) && !fits(now + wait - 1));
            }
            prop_assert_eq!(u64::from(decision.remaining), u64::from(limit) - model.used(model.latest, per));
            let reset = u64::try_from(decision.reset.as_nanos()).unwrap();
            prop_assert_eq!(model.used((now + reset).max(model.latest), per), 0);
        }
        prop_assert!(model.fullest(per) <= u64::from(limit));
    }

    /// A log that may not grow refuses earlier, never later, and admits again in time.
    #[test]
    fn a_log_without_room_errs_by_refusing(
        limit in 1..60_u32, room in 0..3_usize, steps in prop::collection::vec(0..200_u64, 1..400)
    ) {
        let per = 1000;
        let shape = LimitShape::new(LimitAlgorithm::SlidingWindow, limit, Duration::from_nanos(per), None).unwrap();
        let (mut log, mut model, mut now, mut grown) = (AdmissionLog::default(), Model::default(), 1 << 40, 0);
        for step in steps {
            now += step / 8;
            log.prune(now, per);
            let most = MIN_RUNS << room;
            let outcome = shape.sliding_window(log.runs(), log.used(), now, 1);
            if outcome.admitted {
                log.push(AdmittedRun { at: now, count: 1 }, per, |_| { grown += 1; grown <= room });
                model.admit(now, 1);
            } else {
                let slack = 2 * per / MIN_RUNS as u64 + 1;
                prop_assert!(model.used(now, per + slack) >= u64::from(limit), "refused for no reason");
            }
            prop_assert!(log.runs.len() <= most);
            prop_assert_eq!(log.used(), log.runs().map(|run| run.count).sum::<u32>());
        }
        prop_assert!(model.fullest(per) <= u64::from(limit));
    }
}

#[test]
fn a_large_limit_is_bounded_and_within_its_error() {
    let (limit, per) = (20_000_u32, 1_000_000_000_u64);
    let mut window = SlidingWindow::new(limit, Duration::from_nanos(per)).unwrap();
    let admitted = |window: &mut SlidingWindow, from: u64| {
        (0..40_000_u64).filter(|i| window.check(Instant::from_nanos(from + i * 20_000), 1).admitted).count()
    };
    assert_eq!(admitted(&mut window, 0), limit as usize);
    assert!(window.log.runs.len() <= MAX_RUNS && window.log.runs.capacity() <= MAX_RUNS);
    // Everything charged is free again once the error has passed, too.
    assert_eq!(admitted(&mut window, 400_000_000 + per + per / 2048 + 1), limit as usize);
}

#[test]
fn scaling_keeps_the_share_and_the_times() {
    let mut log = AdmissionLog::default();
    for at in 0..10 {
        log.push(AdmittedRun { at, count: 3 }, 100, |_| true);
    }
    log.scale(100, 50);
    assert_eq!((log.used(), log.runs().count()), (15, 10));
    log.prune(104, 100);
    assert_eq!(log.used(), 7);
    assert_eq!(log.runs().map(|run| run.count).sum::<u32>(), 7);
}

#[test]
fn what_was_merged_comes_back_while_it_counts() {
    let per = 1000;
    let mut log = AdmissionLog::default();
    for at in 0..100 {
        log.prune(at * 9, per);
        log.push(AdmittedRun { at: at * 9, count: 2 }, per, |_| false);
    }
    assert!(log.runs().count() <= MIN_RUNS && log.used() == 200);
    for at in 0..100 {
        log.take_back(at * 9, 1, per);
    }
    assert_eq!(log.used(), 100);
    log.take_back(2000, 1, per);
    assert_eq!(log.used(), 100, "there is no such admission");
}
