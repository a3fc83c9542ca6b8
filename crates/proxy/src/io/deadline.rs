//! Deadlines without a timer per request: one coarse timer wheel per worker.
//!
//! A deadline is a cell that its task writes. The wheel checks every cell at least once per turn and wakes the tasks
//! whose deadline has passed. Moving a deadline into the future, as every request does, costs one store.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pylae_core::Instant;
use tokio::sync::Notify;

/// Resolution of deadlines. They fire late by up to this plus the clock's lag, and never early.
const TICK: Duration = Duration::from_millis(20);
/// How far the coarse clock may lag: one tick of the slowest kernel.
const LAG: Duration = Duration::from_millis(10);
/// Ticks per turn of the wheel.
const SLOTS: usize = 64;
const NEVER: u64 = u64::MAX;

/// The timer wheel of a worker. Its task is [`Wheel::run`].
pub(crate) struct Wheel {
    slots: RefCell<Vec<Vec<Rc<TimerCell>>>>,
    /// Taken from their slots and not yet looked at. Kept here, so that none is lost if the task of the wheel panics.
    due: RefCell<VecDeque<Rc<TimerCell>>>,
    tick: Cell<u64>,
    entries: Cell<usize>,
    /// Offset in ticks of the next new entry, so that deadlines set at the same time are not all checked in one tick.
    stagger: Cell<u64>,
    /// Woken at the next tick, if they still wait.
    postponed: RefCell<Vec<Rc<TimerCell>>>,
    /// How often a task began to wait on an idle connection.
    idle_turns: Cell<u64>,
    filled: Notify,
}

/// The state that the wheel and a task share.
struct TimerCell {
    at: Cell<u64>,
    entry: Cell<u64>,
    waker: RefCell<Option<Waker>>,
    state: Cell<WaitState>,
    postponed: Cell<Postponed>,
    /// The tick at which the task began to wait on an idle connection, and how many had begun before.
    idle_since: Cell<(u64, u64)>,
}

/// Whether a task waits on an idle connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WaitState {
    /// It does not, or that is unknown.
    Busy,
    /// It does: the connection may be closed to make room.
    Idle,
    /// The connection was chosen to be closed.
    Closing,
}

/// Whether a task has put something off that it does only if it waits for long.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Postponed {
    /// It has not, or need not do it any more.
    No,
    /// It is woken at the next tick.
    Listed,
    /// It was woken.
    Due,
}

/// The deadline of one task.
pub(crate) struct Deadline {
    wheel: Rc<Wheel>,
    cell: Rc<TimerCell>,
}

fn tick_of(at: Instant) -> u64 {
    at.as_nanos() / TICK.as_nanos() as u64
}

impl Wheel {
    pub(crate) fn new(now: Instant) -> Rc<Self> {
        Rc::new(Self {
            slots: RefCell::new((0..SLOTS).map(|_| Vec::new()).collect()),
            due: RefCell::default(),
            tick: Cell::new(tick_of(now)),
            entries: Cell::new(0),
            stagger: Cell::new(0),
            postponed: RefCell::default(),
            idle_turns: Cell::new(0),
            filled: Notify::new(),
        })
    }

    /// Creates a deadline, which never passes until it is set.
    pub(crate) fn deadline(self: &Rc<Self>) -> Deadline {
        let cell = Rc::new(TimerCell {
            at: Cell::new(NEVER),
            entry: Cell::new(NEVER),
            waker: RefCell::new(None),
            state: Cell::new(WaitState::Busy),
            postponed: Cell::new(Postponed::No),
            idle_since: Cell::new((0, 0)),
        });
        Deadline { wheel: Rc::clone(self), cell }
    }

    /// Turns the wheel forever, and sleeps while it has no entries.
    pub(crate) async fn run(self: Rc<Self>) {
        loop {
            if self.entries.get() == 0 && self.postponed.borrow().is_empty() {
                self.filled.notified().await;
            }
            tokio::time::sleep(TICK).await;
            self.advance(tick_of(crate::io::clock::coarse()));
        }
    }

    /// Wakes every task that has a deadline.
    pub(crate) fn wake_all(&self) {
        for cell in self.slots.borrow().iter().flatten() {
            cell.wake();
        }
    }

    /// Wakes up to `count` tasks that wait on connections idle for `settled`, to close them: those that are idle for
    /// longest first. Returns how many.
    pub(crate) fn wake_idle(&self, count: usize, settled: Duration) -> usize {
        let slots = self.slots.borrow();
        let mut idle: Vec<_> = self.idle(&slots, settled).collect();
        idle.sort_unstable_by_key(|cell| cell.idle_since.get());
        idle.iter().take(count).inspect(|cell| cell.close()).count()
    }

    /// Wakes any task that waits on a connection idle for `settled`, to close it. Returns false if there is none.
    /// Stops at the first, unlike [`Self::wake_idle`].
    pub(crate) fn wake_any_idle(&self, settled: Duration) -> bool {
        self.idle(&self.slots.borrow(), settled).next().inspect(|cell| cell.close()).is_some()
    }

    /// The cells of tasks that wait on connections idle for `settled`.
    fn idle<'a>(&self, slots: &'a [Vec<Rc<TimerCell>>], settled: Duration) -> impl Iterator<Item = &'a Rc<TimerCell>> {
        let before = self.tick.get().saturating_sub((settled.as_nanos() / TICK.as_nanos()) as u64);
        let is_idle =
            move |cell: &&Rc<TimerCell>| cell.state.get() == WaitState::Idle && cell.idle_since.get().0 <= before;
        slots.iter().flatten().filter(is_idle)
    }

    fn advance(&self, to: u64) {
        let from = self.tick.get();
        self.tick.set(to);
        // Take all entries out before re-entering any: a re-entered one could land in a slot that is being processed.
        for tick in from + 1..=to.min(from + SLOTS as u64) {
            self.due.borrow_mut().extend(self.slots.borrow_mut()[tick as usize % SLOTS].drain(..));
        }
        while let Some(cell) = self.next_due() {
            self.entries.set(self.entries.get() - 1);
            // Skip an entry that was replaced by an earlier one.
            let entry = cell.entry.get();
            if entry > to {
                continue;
            }
            cell.entry.set(NEVER);
            match cell.at.get() {
                NEVER => {}
                at if at <= to => cell.wake(),
                // Count from the old position, not from now. Otherwise entries of ticks processed together would stay
                // together, until one tick has all of them.
                at => self.enter(cell, at, entry),
            }
        }
        while let Some(cell) = self.next_postponed() {
            if cell.postponed.get() == Postponed::Listed {
                cell.postponed.set(Postponed::Due);
                cell.wake();
            }
        }
    }

    fn next_postponed(&self) -> Option<Rc<TimerCell>> {
        self.postponed.borrow_mut().pop()
    }

    fn next_due(&self) -> Option<Rc<TimerCell>> {
        self.due.borrow_mut().pop_front()
    }

    /// The tick from which the first turn of a new entry is counted.
    fn stagger(&self) -> u64 {
        let ahead = self.stagger.get();
        self.stagger.set((ahead + 1) % (SLOTS as u64 - 1));
        self.tick.get().saturating_sub(ahead)
    }

    /// Enters the cell at tick `at`, or less than one turn after `from` if that is earlier.
    fn enter(&self, cell: Rc<TimerCell>, at: u64, from: u64) {
        let next = self.tick.get() + 1;
        let entry = at.min(from + SLOTS as u64 - 1).max(next);
        cell.entry.set(entry);
        self.slots.borrow_mut()[entry as usize % SLOTS].push(cell);
        self.entries.set(self.entries.get() + 1);
        if self.entries.get() == 1 {
            self.filled.notify_one();
        }
    }
}

impl TimerCell {
    /// Wakes the task to close its connection.
    fn close(&self) {
        self.state.set(WaitState::Closing);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

impl Deadline {
    /// Sets the deadline. Costs one store unless it is earlier than the wheel's next check of this cell.
    pub(crate) fn set(&self, at: Instant) {
        // Add the lag of the coarse clock and one tick, so that a deadline never fires early.
        let tick = tick_of(at.saturating_add(LAG)) + 1;
        self.cell.at.set(tick);
        if tick < self.cell.entry.get() {
            if self.wheel.entries.get() == 0 {
                // The wheel was asleep, so its tick is outdated.
                self.wheel.tick.set(tick_of(crate::io::clock::coarse()));
            }
            self.wheel.enter(Rc::clone(&self.cell), tick, self.wheel.stagger());
        }
    }

    /// Makes it never pass, until it is set again. Nothing is put off any more.
    pub(crate) fn clear(&self) {
        self.cell.at.set(NEVER);
        self.cell.postponed.set(Postponed::No);
    }

    /// Returns true if the task may put something off that it need only do if it waits for long. It is woken within two
    /// ticks then, and gets false from then on.
    pub(crate) fn may_postpone(&self) -> bool {
        match self.cell.postponed.get() {
            Postponed::Due => return false,
            Postponed::Listed => {}
            Postponed::No => {
                self.cell.postponed.set(Postponed::Listed);
                self.wheel.postponed.borrow_mut().push(Rc::clone(&self.cell));
                self.wheel.filled.notify_one();
            }
        }
        true
    }

    /// Returns true if the deadline has passed. Otherwise registers the task to be woken.
    pub(crate) fn poll_passed(&self, cx: &Context<'_>) -> bool {
        if self.cell.at.get() <= self.wheel.tick.get() {
            return true;
        }
        let mut waker = self.cell.waker.borrow_mut();
        match &*waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
        false
    }

    /// Marks the task as idle until [`within`](Self::within) returns. Returns false if it was chosen to close.
    pub(crate) fn mark_idle(&self) -> bool {
        match self.cell.state.get() {
            WaitState::Closing => return false,
            WaitState::Idle => {}
            WaitState::Busy => {
                self.cell.state.set(WaitState::Idle);
                let turn = self.wheel.idle_turns.get();
                self.wheel.idle_turns.set(turn + 1);
                self.cell.idle_since.set((self.wheel.tick.get(), turn));
            }
        }
        true
    }

    /// Marks the task as idle again after [`within`](Self::within) has returned None, as if it had never been over.
    pub(crate) fn stay_idle(&self) {
        self.cell.state.set(WaitState::Idle);
    }

    /// Returns the result of `poll`, or None once the deadline has passed.
    pub(crate) async fn within<T>(&self, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
        let polled = poll_fn(|cx| match poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if self.poll_passed(cx) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await;
        self.cell.state.set(WaitState::Busy);
        polled
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.cell.at.set(NEVER);
        self.cell.state.set(WaitState::Busy);
        self.cell.postponed.set(Postponed::No);
        self.cell.waker.replace(None);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use super::*;

    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// A wheel whose time is that of the test: with an entry it never asks the clock, which goes on meanwhile.
    fn wheel_at(start: Instant) -> Rc<Wheel> {
        let wheel = Wheel::new(start);
        wheel.enter(wheel.deadline().cell.clone(), tick_of(start) + 1, tick_of(start));
        wheel
    }

    #[test]
    fn no_deadline_is_lost_or_early_however_seldom_the_wheel_turns() {
        let start = crate::io::clock::coarse();
        for stride in (1..10).chain([63, 64, 65, 100, 200]) {
            let wheel = wheel_at(start);
            let set: Vec<_> = (0..300_u32)
                .map(|ticks| {
                    let (deadline, woken) = (wheel.deadline(), Arc::new(Woken(AtomicBool::new(false))));
                    deadline.set(start.saturating_add(TICK * ticks));
                    assert!(!deadline.poll_passed(&Context::from_waker(&Arc::clone(&woken).into())));
                    (deadline, woken)
                })
                .collect();
            let mut now = tick_of(start);
            while now < tick_of(start) + 310 {
                now += stride;
                wheel.advance(now);
                for (deadline, woken) in &set {
                    assert_eq!(
                        woken.0.load(Ordering::Relaxed),
                        deadline.cell.at.get() <= now,
                        "in strides of {stride}"
                    );
                }
            }
            assert_eq!(wheel.entries.get(), 0);
        }
    }

    #[test]
    fn connections_that_are_idle_for_longest_are_closed_first() {
        let start = crate::io::clock::coarse();
        let wheel = wheel_at(start);
        let deadlines: Vec<_> = (0..6).map(|_| wheel.deadline()).collect();
        for (at, deadline) in deadlines.iter().enumerate() {
            deadline.set(start.saturating_add(Duration::from_secs(60)));
            if at != 5 {
                assert!(deadline.mark_idle());
            }
            if at == 2 {
                // The first three begin at one time, and the others two ticks later.
                wheel.advance(tick_of(start) + 2);
            }
        }
        let closing = || deadlines.iter().map(|one| one.cell.state.get() == WaitState::Closing).collect::<Vec<_>>();
        assert_eq!(wheel.wake_idle(3, TICK * 3), 0);
        wheel.advance(tick_of(start) + 4);
        assert_eq!(wheel.wake_idle(2, TICK * 3), 2);
        assert_eq!(closing(), [true, true, false, false, false, false]);
        assert_eq!(wheel.wake_idle(5, TICK * 3), 1);
        assert_eq!(closing(), [true, true, true, false, false, false]);
        assert_eq!(wheel.wake_idle(5, Duration::ZERO), 2, "the last one is busy");
        assert!(!deadlines[0].mark_idle());
    }

    #[test]
    fn what_was_put_off_is_due_once_the_wait_takes_long() {
        let start = crate::io::clock::coarse();
        let wheel = wheel_at(start);
        let [long, short] = [(); 2].map(|()| {
            let (deadline, woken) = (wheel.deadline(), Arc::new(Woken(AtomicBool::new(false))));
            assert!(!deadline.poll_passed(&Context::from_waker(&Arc::clone(&woken).into())));
            (deadline, woken)
        });
        assert!(long.0.may_postpone());
        assert!(long.0.may_postpone(), "it was woken by something else");
        assert!(short.0.may_postpone());
        short.0.clear();
        wheel.advance(tick_of(start) + 1);
        assert!(long.1.0.load(Ordering::Relaxed) && !short.1.0.load(Ordering::Relaxed));
        assert!(!long.0.may_postpone());
        assert!(short.0.may_postpone(), "for the next connection");
        assert_eq!(wheel.postponed.borrow().len(), 1);
    }

    #[test]
    fn no_deadline_is_lost_if_a_waker_panics() {
        struct Mine;

        impl Wake for Mine {
            fn wake(self: Arc<Self>) {
                panic!("woken");
            }
        }

        let start = crate::io::clock::coarse();
        let wheel = wheel_at(start);
        let struck = wheel.deadline();
        struck.set(start);
        assert!(!struck.poll_passed(&Context::from_waker(&Arc::new(Mine).into())));
        let others = [(); 10].map(|()| {
            let (deadline, woken) = (wheel.deadline(), Arc::new(Woken(AtomicBool::new(false))));
            deadline.set(start);
            assert!(!deadline.poll_passed(&Context::from_waker(&Arc::clone(&woken).into())));
            (deadline, woken)
        });
        let now = tick_of(start) + 5;
        assert!(catch_unwind(AssertUnwindSafe(|| wheel.advance(now))).is_err());
        assert!(others.iter().all(|(_, woken)| !woken.0.load(Ordering::Relaxed)), "the first panics");
        wheel.advance(now + 1);
        assert!(others.iter().all(|(_, woken)| woken.0.load(Ordering::Relaxed)));
        assert_eq!(wheel.entries.get(), 0);
    }

    #[test]
    fn checks_of_distant_deadlines_stay_spread_when_the_wheel_turns_unevenly() {
        let start = crate::io::clock::coarse();
        let wheel = Wheel::new(start);
        let set: Vec<_> = (0..SLOTS * 100).map(|_| wheel.deadline()).collect();
        for deadline in &set {
            deadline.set(start.saturating_add(Duration::from_secs(3600)));
        }
        let mut now = tick_of(start);
        for stride in (0..1000).map(|turn| 1 + turn % 3) {
            now += stride;
            wheel.advance(now);
            let fullest = wheel.slots.borrow().iter().map(Vec::len).max();
            assert!(fullest <= Some(200), "{fullest:?} of {} in one slot", set.len());
        }
    }
}
