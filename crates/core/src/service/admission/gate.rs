//! Who is under way to a service and who waits, as counts and a line.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

const WAITING: u32 = 32;

/// Who is under way and who waits, over all workers.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// How many wait, above how many are under way. While nobody waits this is all that is touched.
    pub(super) counts: AtomicU64,
    /// Those who wait. `counts` says how many only while this is locked.
    pub(super) line: Mutex<Line>,
}

#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(super) next: u64,
    /// By ticket, which is the order in which they came. Whose ticket is gone has been let in.
    pub(super) waiting: VecDeque<(u64, Option<Waker>)>,
}

pub(super) fn unpack(word: u64) -> (u32, u32) {
    ((word >> WAITING) as u32, word as u32)
}

fn pack(waiting: u32, inside: u32) -> u64 {
    (u64::from(waiting) << WAITING) | u64::from(inside)
}

impl Gate {
    /// Moves `(waiting, inside)`, or leaves them; the figures before.
    pub(super) fn shift(&self, to: impl Fn(u32, u32) -> Option<(u32, u32)>) -> Option<(u32, u32)> {
        let change = self.counts.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let (waiting, inside) = unpack(word);
            to(waiting, inside).map(|(waiting, inside)| pack(waiting, inside))
        });
        change.ok().map(unpack)
    }

    /// Lets in who waits first, as long as there is room; they are woken by the caller, behind the lock.
    pub(super) fn let_in(&self, line: &mut Line, most: u32) -> Vec<Waker> {
        let mut woken = Vec::new();
        while self.shift(|waiting, inside| (waiting > 0 && inside < most).then(|| (waiting - 1, inside + 1))).is_some()
        {
            woken.extend(line.waiting.pop_front().and_then(|(_, waker)| waker));
        }
        woken
    }

    /// One is under way no more.
    pub(super) fn leave(&self, most: u32) {
        if self.shift(|waiting, inside| (waiting == 0).then(|| (0, inside - 1))).is_some() {
            return;
        }
        let mut line = self.line.lock();
        self.shift(|waiting, inside| Some((waiting, inside - 1)));
        let woken = self.let_in(&mut line, most);
        drop(line);
        woken.into_iter().for_each(Waker::wake);
    }
}
