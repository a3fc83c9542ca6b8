//! The clock of the process, which tests move forward.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::peer::PATIENCE;

/// All gateways of the process have the same clock: one that moves it runs alone.
static TURN: RwLock<()> = RwLock::new(());

thread_local! {
    /// What the gateways of one test share: taking the lock once more could wait for a test that waits for this one.
    static TAKEN: RefCell<Weak<RwLockReadGuard<'static, ()>>> = const { RefCell::new(Weak::new()) };
}

/// Held while a gateway runs.
pub(crate) enum Turn {
    /// Nobody moves the clock.
    Shared(#[expect(dead_code, reason = "held")] Rc<RwLockReadGuard<'static, ()>>),
    /// Nobody else runs.
    Alone(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'static, ()>),
}

impl Turn {
    pub(crate) fn shared() -> Self {
        let mine = TAKEN.with_borrow(Weak::upgrade);
        let mine = mine.unwrap_or_else(|| Rc::new(TURN.read()));
        TAKEN.set(Rc::downgrade(&mine));
        Self::Shared(mine)
    }

    pub(crate) fn alone() -> Self {
        Self::Alone(TURN.write())
    }

    /// Moves the clock on.
    pub(crate) fn advance(&self, by: Duration) {
        assert!(matches!(self, Self::Alone(_)), "gateways whose clock is moved run alone");
        pylae_proxy::shift_clock(i64::try_from(by.as_nanos()).expect("a span that fits"));
    }
}

/// Waits for something that can only be looked at, such as a counter.
pub(crate) fn wait_until(condition: impl FnMut() -> bool) {
    assert!(wait(PATIENCE, condition), "waited in vain");
}

/// Whether the condition was met in time.
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
