//! Real time, read in one place, and moved forward only by tests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pylae_core::Instant;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds by which tests let every clock of the process be ahead; read and never written in a gateway.
static AHEAD: AtomicU64 = AtomicU64::new(0);

/// Lets every gateway of the process find the time moved by `nanos`, for tests. What waits for a timer of the runtime,
/// such as health checks, goes on by real time. Time that goes back is for a process without a running gateway.
pub fn shift_clock(nanos: i64) {
    // Wraps where it is negative, which is what subtracts.
    AHEAD.fetch_add(nanos.cast_unsigned(), Ordering::Relaxed);
}

/// Now, since the machine was started.
pub(crate) fn now() -> Instant {
    since_start(clock_gettime(ClockId::Monotonic))
}

/// The same, some milliseconds late, at a fraction of the price: for deadlines.
pub(crate) fn coarse() -> Instant {
    since_start(clock_gettime(ClockId::MonotonicCoarse))
}

/// The second that it is, since the machine was started.
pub(crate) fn second() -> u64 {
    coarse().as_nanos() / 1_000_000_000
}

/// Now, since the Unix epoch; a few milliseconds late.
pub(crate) fn wall() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::RealtimeCoarse);
    let read = Duration::new(u64::try_from(tv_sec).unwrap_or_default(), u32::try_from(tv_nsec).unwrap_or_default());
    read + Duration::from_nanos(AHEAD.load(Ordering::Relaxed))
}

fn since_start(read: Timespec) -> Instant {
    // Neither is negative on these clocks.
    let nanos = read.tv_sec.cast_unsigned() * 1_000_000_000 + read.tv_nsec.cast_unsigned();
    Instant::from_nanos(nanos.wrapping_add(AHEAD.load(Ordering::Relaxed)))
}
