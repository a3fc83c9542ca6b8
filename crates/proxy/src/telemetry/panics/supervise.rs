//! Starts again what panicked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_local};

use super::count::Duty;
use super::hook::{enter, forget_task, name_task};
use crate::telemetry::log::Log;

/// The pause before the second start in a row. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// What ran for this long starts again at once.
const SOUND: Duration = Duration::from_secs(10);

/// Runs `body` on this thread until it returns, and again whenever it panics: at once, then after pauses of up to a
/// second. `log` is that of the thread's engine, if it belongs to one.
///
/// `body` must be able to begin anew with whatever state a panic has left.
pub fn supervise(log: Option<&Arc<Log>>, duty: Duty, mut body: impl FnMut()) {
    let mut restarts = Restarts::new(Instant::now());
    loop {
        enter(log, duty);
        // The panic was recorded when it happened.
        if catch_unwind(AssertUnwindSafe(&mut body)).is_ok() {
            return;
        }
        std::thread::sleep(restarts.pause(Instant::now()));
    }
}

/// Starts a task on the current `LocalSet`, and starts it again whenever it panics, as [`supervise`] does. `start` only
/// makes the future. Aborting the returned task ends both.
pub(crate) fn supervise_task<F>(duty: Duty, mut start: impl FnMut() -> F + 'static) -> JoinHandle<()>
where
    F: Future<Output = ()> + 'static,
{
    spawn_local(async move {
        let mut restarts = Restarts::new(Instant::now());
        loop {
            // The runtime catches its panics, so that nothing is paid for that while it runs.
            let mut task = SupervisedTask::new(spawn_local(start()), duty);
            match (&mut task.0).await {
                Err(error) if error.is_panic() => {}
                _ => return,
            }
            tokio::time::sleep(restarts.pause(Instant::now())).await;
        }
    })
}

/// Bounds how often something is started again.
struct Restarts {
    started: Instant,
    pause: Duration,
}

impl Restarts {
    fn new(now: Instant) -> Self {
        Self { started: now, pause: Duration::ZERO }
    }

    /// The pause before the next start.
    fn pause(&mut self, now: Instant) -> Duration {
        if now.saturating_duration_since(self.started) >= SOUND {
            self.pause = Duration::ZERO;
        }
        let pause = self.pause;
        self.pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.started = now + pause;
        pause
    }
}

/// A task whose panics are counted under its duty. It ends when this is dropped.
struct SupervisedTask(JoinHandle<()>);

impl SupervisedTask {
    fn new(task: JoinHandle<()>, duty: Duty) -> Self {
        name_task(task.id(), duty);
        Self(task)
    }
}

impl Drop for SupervisedTask {
    fn drop(&mut self) {
        self.0.abort();
        forget_task(self.0.id());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_at_once_and_each_further_one_later_up_to_a_second() {
        let mut now = Instant::now();
        let mut restarts = Restarts::new(now);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            now += Duration::from_millis(1);
            let pause = restarts.pause(now);
            pauses.push(pause.as_millis());
            now += pause;
        }
        assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(restarts.pause(now + SOUND), Duration::ZERO, "it ran well meanwhile");
    }
}
