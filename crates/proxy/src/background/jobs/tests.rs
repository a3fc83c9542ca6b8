use std::sync::mpsc::channel;
use std::time::Duration;

use pylae_policies::authentication::Background;

use super::*;
use crate::telemetry::panics::fixture::{count, records, wait_until};
use crate::telemetry::panics::install;

#[test]
fn jobs_run_after_others_have_panicked() {
    let log = Arc::<Log>::default();
    install(&log);
    let pool = JobPool::start(&log);
    for _ in 0..=THREADS {
        assert!(pool.run(Box::new(|| panic!("a bad job"))));
    }
    let (done, results) = channel();
    assert!(pool.run(Box::new(move || done.send(7).unwrap())));
    assert_eq!(results.recv_timeout(Duration::from_secs(15)), Ok(7));
    wait_until(|| count(&log, "background") == THREADS as u64 + 1);
    let found = records(&log, "background");
    assert!(found[0].contains("jobs/tests.rs:"), "{found:?}");
}
