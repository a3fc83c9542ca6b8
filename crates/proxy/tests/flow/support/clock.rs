//! The clock of the process, which tests advance.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::peer::PATIENCE;

/// All gateways of the process share one clock, so a test that advances it runs alone.
static CLOCK: RwLock<()> = RwLock::new(());

thread_local! {
    /// The read lock that the gateways of one test share: acquiring it again could deadlock with a waiting writer.
    static HELD: RefCell<Weak<RwLockReadGuard<'static, ()>>> = const { RefCell::new(Weak::new()) };
}

/// Held while a gateway runs.
pub(crate) enum ClockLock {
    /// The clock does not advance.
    Shared(#[expect(dead_code, reason = "held")] Rc<RwLockReadGuard<'static, ()>>),
    /// No other gateway runs.
    Alone(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'static, ()>),
}

impl ClockLock {
    pub(crate) fn shared() -> Self {
        let guard = HELD.with_borrow(Weak::upgrade);
        let guard = guard.unwrap_or_else(|| Rc::new(CLOCK.read()));
        HELD.set(Rc::downgrade(&guard));
        Self::Shared(guard)
    }

    pub(crate) fn alone() -> Self {
        Self::Alone(CLOCK.write())
    }

    /// Advances the clock.
    pub(crate) fn advance(&self, by: Duration) {
        assert!(matches!(self, Self::Alone(_)), "gateways whose clock is moved run alone");
        pylae_proxy::shift_clock(i64::try_from(by.as_nanos()).expect("a span that fits"));
    }
}

/// Waits for a condition that can only be polled, such as a counter.
pub(crate) fn wait_until(condition: impl FnMut() -> bool) {
    assert!(wait(PATIENCE, condition), "waited in vain");
}

/// Returns true if the condition was met in time.
pub(crate) fn wait(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
