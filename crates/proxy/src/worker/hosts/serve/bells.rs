//! When a host wakes its workers. A worker that has little to do is woken for each answer by itself, and so are the
//! instances behind it, which costs them more than the answer. So those of short calls in a row are told together: the
//! more calls wait, the more of them, as they have waited for longer themselves.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pylae_core::Instant;

use crate::io::clock;
use crate::worker::hosts::bell::Bell;

/// After a call that took no longer, the next is likely to be as short.
const SHORT: Duration = Duration::from_micros(100);
/// How long an answer may wait for the next ones.
pub(super) const TOGETHER: Duration = Duration::from_millis(1);
/// How often it is looked for bells that were not rung in time, because a call is longer than the one before.
const LOOK: Duration = Duration::from_millis(1);
/// Looks in a row that find nothing before nobody looks any more.
const QUIET_LOOKS: u32 = 20;

/// The bells of the workers, by lane.
pub(super) struct HostBells {
    owed: Arc<OwedBells>,
    is_calling: Cell<bool>,
    /// Lanes that the call has rung.
    rung: RefCell<Vec<usize>>,
    /// Since when a bell is owed.
    since: Cell<Option<Instant>>,
    /// Calls since then.
    held: Cell<usize>,
    watch: Option<JoinHandle<()>>,
}

/// What the thread of the host and the one that watches it share.
struct OwedBells {
    bells: Vec<(Bell, AtomicBool)>,
    /// How often the host has rung what it owed.
    rounds: AtomicU64,
    is_watched: AtomicBool,
    is_over: AtomicBool,
}

impl HostBells {
    pub(super) fn new(bells: Vec<Bell>) -> io::Result<Self> {
        let bells = bells.into_iter().map(|bell| (bell, AtomicBool::new(false))).collect();
        let (rounds, is_watched, is_over) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
        let owed = Arc::new(OwedBells { bells, rounds, is_watched, is_over });
        let watched = Arc::clone(&owed);
        let watch = thread::Builder::new().name("pylae-host-bells".to_owned()).spawn(move || watched.watch())?;
        let (is_calling, rung, since) = (Cell::new(false), RefCell::default(), Cell::new(None));
        Ok(Self { owed, is_calling, rung, since, held: Cell::new(0), watch: Some(watch) })
    }

    pub(super) fn lanes(&self) -> usize {
        self.owed.bells.len()
    }

    /// Wakes the worker of a lane: at once, or, within [`Self::call`], at its end or later.
    pub(super) fn ring(&self, lane: usize) {
        if self.is_calling.get() {
            self.rung.borrow_mut().push(lane);
        } else {
            self.owed.bells[lane].0.ring();
        }
    }

    /// Makes a call, which rings at its end. That may be put off while more calls are `waiting` than have been made
    /// since.
    pub(super) fn call<T>(&self, waiting: usize, make: impl FnOnce() -> T) -> T {
        let began = clock::now();
        self.is_calling.set(true);
        let made = make();
        self.is_calling.set(false);
        let mut rung = self.rung.borrow_mut();
        if rung.is_empty() && self.since.get().is_none() {
            return made;
        }
        let now = clock::now();
        let since = self.since.get().unwrap_or(now);
        self.since.set(Some(since));
        self.owed.add(&rung);
        rung.clear();
        self.held.set(self.held.get() + 1);
        if waiting <= self.held.get() || now.since(began) > SHORT || now.since(since) > TOGETHER {
            self.ring_owed();
        } else if !self.owed.is_watched.swap(true, Ordering::SeqCst)
            && let Some(watch) = &self.watch
        {
            watch.thread().unpark();
        }
        made
    }

    /// Wakes the workers for which that is owed.
    pub(super) fn ring_owed(&self) {
        if self.since.take().is_some() {
            self.held.set(0);
            self.owed.rounds.fetch_add(1, Ordering::SeqCst);
            self.owed.ring();
        }
    }
}

impl Drop for HostBells {
    fn drop(&mut self) {
        self.owed.is_over.store(true, Ordering::SeqCst);
        if let Some(watch) = self.watch.take() {
            watch.thread().unpark();
            // Fails only if it has panicked.
            let _ = watch.join();
        }
    }
}

impl OwedBells {
    fn add(&self, lanes: &[usize]) {
        for lane in lanes {
            self.bells[*lane].1.store(true, Ordering::SeqCst);
        }
    }

    fn ring(&self) {
        for (bell, is_owed) in &self.bells {
            if is_owed.load(Ordering::SeqCst) && is_owed.swap(false, Ordering::SeqCst) {
                bell.ring();
            }
        }
    }

    /// Rings what the host owes and does not come to, until it is over.
    fn watch(&self) {
        while !self.is_over.load(Ordering::SeqCst) {
            if !self.is_watched.load(Ordering::SeqCst) {
                thread::park();
                continue;
            }
            let (mut rounds, mut quiet) = (self.rounds.load(Ordering::SeqCst), 0);
            while quiet < QUIET_LOOKS && !self.is_over.load(Ordering::SeqCst) {
                thread::park_timeout(LOOK);
                let seen = std::mem::replace(&mut rounds, self.rounds.load(Ordering::SeqCst));
                if rounds == seen {
                    self.ring();
                    quiet += 1;
                } else {
                    quiet = 0;
                }
            }
            self.is_watched.store(false, Ordering::SeqCst);
            // One that came to be owed just before.
            self.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bells() -> (HostBells, Bell) {
        let bell = Bell::new().unwrap();
        let heard = Bell::of(rustix::io::dup(&bell).unwrap());
        (HostBells::new(vec![bell]).unwrap(), heard)
    }

    /// How often it was rung since the last time.
    fn rung(heard: &Bell) -> u64 {
        let mut count = [0; 8];
        rustix::io::read(heard, &mut count).map_or(0, |_| u64::from_ne_bytes(count))
    }

    /// Waits until it is rung.
    fn wait(heard: &Bell) {
        let mut heard = [rustix::event::PollFd::new(heard, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut heard, Some(&patience)), Ok(1));
    }

    #[test]
    fn what_is_no_call_rings_at_once() {
        let (bells, heard) = bells();
        bells.ring(0);
        bells.ring(0);
        assert_eq!(rung(&heard), 2);
    }

    #[test]
    fn a_call_rings_for_those_before() {
        let (bells, heard) = bells();
        let together = || {
            let rung_after = |waiting| {
                bells.call(waiting, || bells.ring(0));
                rung(&heard)
            };
            // The third call has as many behind it as have been made.
            [5, 4, 3].map(rung_after) == [0, 0, 1] && [1, 0].map(rung_after) == [1, 1]
        };
        // It is not so if the machine holds this up for a tenth of a millisecond.
        assert!((0..1000).any(|_| together()));
        assert!(bells.since.get().is_none());
    }

    #[test]
    fn a_long_call_rings_at_its_end() {
        let (bells, heard) = bells();
        bells.call(9, || {
            bells.ring(0);
            let began = clock::now();
            while clock::now().since(began) <= SHORT {}
        });
        assert_eq!(rung(&heard), 1);
        assert!(bells.since.get().is_none());
    }

    #[test]
    fn what_is_owed_is_rung_while_a_call_lasts() {
        let (bells, heard) = bells();
        for _ in 0..2 {
            bells.call(9, || bells.ring(0));
            bells.call(9, || wait(&heard));
            rung(&heard);
            // The one that watches rests after a while, and is there again.
            while bells.owed.is_watched.load(Ordering::SeqCst) {
                thread::yield_now();
            }
        }
    }
}
