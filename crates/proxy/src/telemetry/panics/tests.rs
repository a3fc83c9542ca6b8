use std::sync::Arc;
use std::time::Duration;

use tokio::task::LocalSet;

use super::count::MAX_RECORDS;
use super::fixture::{count, records};
use super::*;
use crate::telemetry::log::Log;

/// Runs a test on a thread of its own.
fn on_thread(name: &str, test: impl FnOnce() + Send + 'static) -> std::thread::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(test).unwrap().join()
}

fn log() -> Arc<Log> {
    let log = Arc::<Log>::default();
    install(&log);
    log
}

#[test]
fn a_body_that_panics_starts_again_until_it_returns() {
    let log = log();
    let own = Arc::clone(&log);
    let run = on_thread("pylae-keys", move || {
        let mut runs = 0;
        supervise(Some(&own), Duty::Keys, || {
            runs += 1;
            assert!(runs > 3, "run {runs}\nof 3: {}", "é".repeat(1000));
        });
        assert_eq!(runs, 4);
    });
    assert!(run.is_ok());
    assert_eq!(count(&log, "keys"), 3);
    let records = records(&log, "keys");
    assert_eq!(records.len(), 3);
    let (place, message) = records[0].split_once(": ").unwrap();
    assert!(place.starts_with("pylae-keys panicked (keys) at "), "{place}");
    assert!(place.contains("telemetry/panics/tests.rs:"), "{place}");
    // Control characters are blanks, and no letter is cut in two.
    let message = message.lines().next().unwrap();
    assert!(message.starts_with("run 1 of 3: éé"), "{message}");
    assert!((500..=512).contains(&message.len()), "{message}");
}

#[test]
fn a_task_that_panics_starts_again_and_is_told_from_the_others_of_its_thread() {
    let log = log();
    let own = Arc::clone(&log);
    let run = on_thread("pylae-worker-0", move || {
        enter(Some(&own), Duty::Worker);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let mut runs = 0;
            let task = supervise_task(Duty::Wheel, move || {
                runs += 1;
                async move { assert!(runs > 2, "run {runs}") }
            });
            let other = tokio::task::spawn_local(async { panic!("of a connection") });
            assert!(other.await.unwrap_err().is_panic());
            task.await.unwrap();
            // Aborted with the task that starts it again.
            let (alive, ended) = tokio::sync::oneshot::channel::<()>();
            let mut alive = Some(alive);
            let task = supervise_task(Duty::Sweep, move || {
                let alive = alive.take();
                async move {
                    std::future::pending::<()>().await;
                    drop(alive);
                }
            });
            tokio::task::yield_now().await;
            task.abort();
            assert!(tokio::time::timeout(Duration::from_secs(15), ended).await.unwrap().is_err());
        });
        let run = std::panic::catch_unwind(|| panic!("outside the tasks"));
        assert!(run.is_err());
    });
    assert!(run.is_ok());
    assert_eq!(["wheel", "connection", "sweep", "worker"].map(|duty| count(&log, duty)), [2, 1, 0, 1]);
}

#[test]
fn a_panic_on_a_thread_of_no_engine_is_recorded_by_all() {
    let logs = [log(), log()];
    assert!(on_thread("of the program", || panic!("not of an engine")).is_err());
    for log in logs {
        // Tests that fail meanwhile are recorded as well.
        assert!(count(&log, "other") >= 1);
        let found = records(&log, "other");
        assert!(found.iter().any(|record| record.starts_with("of the program panicked ")), "{found:?}");
    }
}

#[test]
fn a_few_panics_of_each_second_are_recorded() {
    let panics = Panics::default();
    let recorded = (0..MAX_RECORDS + 5).filter(|_| panics.admit_record(1).is_some()).count();
    assert_eq!(recorded as u64, MAX_RECORDS);
    assert_eq!(panics.admit_record(2), Some(5), "left out since the last record");
    assert_eq!(panics.admit_record(2), Some(0));
}
