//! Real time, read in one place.

use std::time::Duration;

use pylae_core::Instant;
use rustix::time::{ClockId, Timespec, clock_gettime};

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
    Duration::new(u64::try_from(tv_sec).unwrap_or_default(), u32::try_from(tv_nsec).unwrap_or_default())
}

fn since_start(read: Timespec) -> Instant {
    // Neither is negative on these clocks.
    Instant::from_nanos(read.tv_sec.cast_unsigned() * 1_000_000_000 + read.tv_nsec.cast_unsigned())
}
