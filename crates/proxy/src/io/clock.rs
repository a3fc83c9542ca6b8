//! The clocks. This is the only place that reads real time; tests can shift it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pylae_core::Instant;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds by which tests shift every clock of the process. Never written outside tests.
static AHEAD: AtomicU64 = AtomicU64::new(0);

/// Shifts the clocks of the process by `nanos`, for tests. Runtime timers, such as those of health checks, keep real
/// time. Only shift back while no gateway is running.
pub fn shift_clock(nanos: i64) {
    // A negative value wraps around, which subtracts.
    AHEAD.fetch_add(nanos.cast_unsigned(), Ordering::Relaxed);
}

/// The monotonic time.
pub(crate) fn now() -> Instant {
    since_start(clock_gettime(ClockId::Monotonic))
}

/// Nanoseconds that a reading of the monotonic time takes: the least that was seen when it was first asked for.
pub(crate) fn overhead() -> u64 {
    const READINGS: usize = 100;
    static LEAST: OnceLock<u64> = OnceLock::new();
    *LEAST.get_or_init(|| {
        let pairs = (0..READINGS).map(|_| (now(), now()));
        pairs.map(|(one, next)| next.as_nanos().saturating_sub(one.as_nanos())).min().unwrap_or_default()
    })
}

/// The monotonic time, some milliseconds late but much cheaper: for deadlines.
pub(crate) fn coarse() -> Instant {
    since_start(clock_gettime(ClockId::MonotonicCoarse))
}

/// The monotonic time in whole seconds.
pub(crate) fn second() -> u64 {
    coarse().as_nanos() / 1_000_000_000
}

/// The time since the Unix epoch, a few milliseconds late.
pub(crate) fn wall() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::RealtimeCoarse);
    let read = Duration::new(u64::try_from(tv_sec).unwrap_or_default(), u32::try_from(tv_nsec).unwrap_or_default());
    read + Duration::from_nanos(AHEAD.load(Ordering::Relaxed))
}

/// What must be added to the monotonic time to get the time since the Unix epoch, in nanoseconds. Unlike [`wall`] it is
/// exact.
pub(crate) fn wall_offset() -> u64 {
    let (wall, now) = (clock_gettime(ClockId::Realtime), clock_gettime(ClockId::Monotonic));
    since_start(wall).as_nanos().wrapping_sub(since_start(now).as_nanos())
}

fn since_start(read: Timespec) -> Instant {
    // These clocks are never negative.
    let nanos = read.tv_sec.cast_unsigned() * 1_000_000_000 + read.tv_nsec.cast_unsigned();
    Instant::from_nanos(nanos.wrapping_add(AHEAD.load(Ordering::Relaxed)))
}
