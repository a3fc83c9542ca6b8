//! The gate before the interpreter's lock. Workers pass it one at a time, so that a hook that never releases the lock
//! can keep one worker at most: the others wait for the gate, not for the lock, and can give up.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// How long a worker blocks for another one whose hook has just begun. Beyond that it serves other requests.
const BRIEFLY: Duration = Duration::from_millis(2);
/// Ticks after which the worker inside is overdue.
const OVERDUE: u64 = 2;

thread_local! {
    static NEXT: Cell<u64> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) << 40);
}

/// Number of threads that have passed the gate, for distinct tickets.
static THREADS: AtomicU64 = AtomicU64::new(1);

/// Lets one worker at a time pass. There is one, as there is one interpreter.
#[derive(Debug)]
pub struct InterpreterGate {
    /// Ticket of the worker inside, or 0.
    inside: AtomicU64,
    /// Tick at which it passed.
    passed: AtomicU64,
    ticks: AtomicU64,
    /// Number of threads and tasks that wait.
    waiting: AtomicUsize,
    tasks: Mutex<Vec<(u64, Waker)>>,
    opened: Condvar,
}

/// The permission to attach to the interpreter. The next worker may pass when it is dropped.
#[derive(Debug)]
pub struct Pass {
    gate: &'static InterpreterGate,
    ticket: u64,
}

impl Default for InterpreterGate {
    fn default() -> Self {
        Self::new()
    }
}

impl InterpreterGate {
    /// Creates an open gate.
    pub const fn new() -> Self {
        Self {
            inside: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            ticks: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            tasks: Mutex::new(Vec::new()),
            opened: Condvar::new(),
        }
    }

    /// Passes, after a short wait if another worker is inside. Returns None if that takes longer.
    pub fn pass(&'static self) -> Option<Pass> {
        let ticket = ticket();
        if self.try_pass(ticket) {
            return Some(Pass { gate: self, ticket });
        }
        if self.is_overdue() {
            return None;
        }
        let deadline = Instant::now() + BRIEFLY;
        let mut tasks = self.tasks.lock();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut has_passed = self.try_pass(ticket);
        while !has_passed && !self.opened.wait_until(&mut tasks, deadline).timed_out() {
            has_passed = self.try_pass(ticket);
        }
        has_passed = has_passed || self.try_pass(ticket);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        has_passed.then_some(Pass { gate: self, ticket })
    }

    fn try_pass(&self, ticket: u64) -> bool {
        let has_passed = self.inside.compare_exchange(0, ticket, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        if has_passed {
            self.passed.store(self.ticks.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        has_passed
    }

    /// Counts the time, in units of the watchdog's interval.
    pub fn tick(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    /// True if a worker has been inside for long.
    pub fn is_overdue(&self) -> bool {
        let passed = self.passed.load(Ordering::Relaxed);
        let is_inside = self.inside.load(Ordering::Relaxed) != 0;
        is_inside && self.ticks.load(Ordering::Relaxed).saturating_sub(passed) >= OVERDUE
    }

    /// Lets the next worker pass although the one inside is overdue. Must be called with the interpreter's lock held,
    /// which proves that the one inside does not keep it.
    pub fn open_if_overdue(&self) {
        let inside = self.inside.load(Ordering::SeqCst);
        if inside != 0 && self.is_overdue() {
            self.leave(inside);
        }
    }

    fn leave(&self, ticket: u64) {
        // Fails if the gate was opened for others meanwhile.
        if self.inside.compare_exchange(ticket, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
            self.wake();
        }
    }

    /// Has those that wait try again.
    pub fn wake(&self) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let tasks = {
            let mut tasks = self.tasks.lock();
            self.waiting.fetch_sub(tasks.len(), Ordering::SeqCst);
            std::mem::take(&mut *tasks)
        };
        self.opened.notify_one();
        for (_, task) in tasks {
            task.wake();
        }
    }

    fn register(&self, ticket: u64, task: &Waker) {
        let mut tasks = self.tasks.lock();
        if let Some((_, known)) = tasks.iter_mut().find(|(known, _)| *known == ticket) {
            known.clone_from(task);
        } else {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            tasks.push((ticket, task.clone()));
        }
    }

    fn unregister(&self, ticket: u64) {
        let mut tasks = self.tasks.lock();
        if let Some(place) = tasks.iter().position(|(known, _)| *known == ticket) {
            tasks.swap_remove(place);
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// A number that no other waiter has.
fn ticket() -> u64 {
    NEXT.with(|next| {
        next.set(next.get() + 1);
        next.get()
    })
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.leave(self.ticket);
    }
}

/// Completes when it is worth trying to pass.
#[derive(Debug)]
pub struct GateOpen<F> {
    gate: &'static InterpreterGate,
    ticket: u64,
    /// True while the gate is closed for another reason.
    is_closed: F,
}

impl<F: Fn() -> bool> GateOpen<F> {
    /// `is_closed` tells whether the gate is closed for another reason.
    pub fn new(gate: &'static InterpreterGate, is_closed: F) -> Self {
        Self { gate, ticket: ticket(), is_closed }
    }
}

impl<F: Fn() -> bool + Unpin> Future for GateOpen<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Registered before the look, so that nothing is missed.
        self.gate.register(self.ticket, cx.waker());
        if self.gate.inside.load(Ordering::SeqCst) == 0 && !(self.is_closed)() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl<F> Drop for GateOpen<F> {
    fn drop(&mut self) {
        self.gate.unregister(self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::task::Wake;

    use super::*;

    static GATE: InterpreterGate = InterpreterGate::new();

    /// Counts wake-ups.
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn one_passes_at_a_time_and_an_overdue_one_can_be_passed_by() {
        let pass = GATE.pass().expect("an open gate");
        assert!(GATE.pass().is_none(), "somebody is inside");
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let task = Waker::from(Arc::clone(&woken));
        let mut open = Box::pin(GateOpen::new(&GATE, || false));
        assert!(open.as_mut().poll(&mut Context::from_waker(&task)).is_pending());
        drop(pass);
        assert!(woken.0.swap(false, Ordering::SeqCst));
        assert!(open.as_mut().poll(&mut Context::from_waker(&task)).is_ready());
        drop(open);
        assert_eq!(GATE.waiting.load(Ordering::SeqCst), 0);
        // Closed for another reason.
        let mut open = Box::pin(GateOpen::new(&GATE, || true));
        assert!(open.as_mut().poll(&mut Context::from_waker(&task)).is_pending());
        drop(open);
        let stuck = GATE.pass().expect("an open gate");
        GATE.open_if_overdue();
        assert!(GATE.pass().is_none(), "not overdue yet");
        (0..OVERDUE).for_each(|_| GATE.tick());
        assert!(GATE.is_overdue());
        GATE.open_if_overdue();
        let pass = GATE.pass().expect("a gate that was opened");
        drop(stuck);
        assert!(GATE.pass().is_none(), "the one that was stuck has left long ago");
        drop(pass);
        // A thread that waits briefly.
        let pass = GATE.pass().expect("an open gate");
        std::thread::scope(|scope| {
            let other = scope.spawn(|| std::iter::repeat_with(|| GATE.pass()).find_map(|pass| pass).is_some());
            drop(pass);
            assert!(other.join().unwrap());
        });
    }
}
