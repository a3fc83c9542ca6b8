//! Tasks that serve one job after another. One that has served its job waits for the next, so that most jobs cost
//! neither a task nor what it keeps.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Most tasks of a pool that wait.
const MOST_WAITING: usize = 128;

/// The tasks that wait for a job.
pub(crate) struct TaskPool<T> {
    waiting: RefCell<Vec<Rc<TaskSeat<T>>>>,
    /// There will be no more jobs.
    over: Cell<bool>,
}

/// Where a task waits for its jobs.
pub(crate) struct TaskSeat<T> {
    state: RefCell<SeatState<T>>,
}

enum SeatState<T> {
    Empty,
    Waiting(Waker),
    Taken(T),
    /// There will be none.
    Dismissed,
}

impl<T> TaskPool<T> {
    pub(crate) fn new() -> Self {
        Self { waiting: RefCell::default(), over: Cell::new(false) }
    }

    /// Has a task serve the job: one that waits, or else the one that `start` makes of it.
    pub(crate) fn serve(&self, job: T, start: impl FnOnce(T)) {
        let waiting = self.waiting.borrow_mut().pop();
        match waiting {
            Some(seat) => seat.change(SeatState::Taken(job)),
            None => start(job),
        }
    }

    /// Waits for the next job of the task with this seat. None if the task is to end.
    pub(crate) async fn next(&self, seat: &Rc<TaskSeat<T>>) -> Option<T> {
        if self.over.get() || self.waiting.borrow().len() >= MOST_WAITING {
            return None;
        }
        self.waiting.borrow_mut().push(Rc::clone(seat));
        poll_fn(|cx| seat.poll(cx)).await
    }

    /// How many tasks wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Ends the tasks that wait.
    pub(crate) fn rest(&self) {
        for seat in self.waiting.take() {
            seat.change(SeatState::Dismissed);
        }
    }

    /// Ends each task as soon as it has served its job.
    pub(crate) fn end(&self) {
        self.over.set(true);
        self.rest();
    }
}

impl<T> TaskSeat<T> {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self { state: RefCell::new(SeatState::Empty) })
    }

    fn change(&self, to: SeatState<T>) {
        if let SeatState::Waiting(waker) = self.state.replace(to) {
            waker.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Option<T>> {
        let mut state = self.state.borrow_mut();
        match std::mem::replace(&mut *state, SeatState::Empty) {
            SeatState::Taken(job) => Poll::Ready(Some(job)),
            SeatState::Dismissed => Poll::Ready(None),
            SeatState::Empty | SeatState::Waiting(_) => {
                *state = SeatState::Waiting(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::{LocalSet, yield_now};

    use super::*;

    /// A pool, and what its tasks do: each notes its number with each of its jobs.
    struct Noted {
        pool: TaskPool<&'static str>,
        tasks: Cell<usize>,
        ended: Cell<usize>,
        notes: RefCell<Vec<(usize, &'static str)>>,
    }

    impl Noted {
        fn serve(self: &Rc<Self>, job: &'static str) {
            self.pool.serve(job, |job| {
                let (noted, seat, mut next) = (Rc::clone(self), TaskSeat::new(), Some(job));
                self.tasks.set(self.tasks.get() + 1);
                let number = self.tasks.get();
                tokio::task::spawn_local(async move {
                    while let Some(job) = next {
                        assert_ne!(job, "panic");
                        yield_now().await;
                        noted.notes.borrow_mut().push((number, job));
                        next = noted.pool.next(&seat).await;
                    }
                    noted.ended.set(noted.ended.get() + 1);
                });
            });
        }

        async fn served(&self, jobs: usize) {
            while self.notes.borrow().len() < jobs {
                yield_now().await;
            }
            yield_now().await;
        }
    }

    fn run(test: impl AsyncFnOnce(Rc<Noted>)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (tasks, ended) = (Cell::new(0), Cell::new(0));
        let noted = Rc::new(Noted { pool: TaskPool::new(), tasks, ended, notes: RefCell::default() });
        LocalSet::new().block_on(&runtime, test(noted));
    }

    #[test]
    fn a_task_serves_one_job_after_another() {
        run(async |noted| {
            for (count, job) in ["a", "b", "c"].into_iter().enumerate() {
                noted.serve(job);
                noted.served(count + 1).await;
            }
            assert_eq!(*noted.notes.borrow(), [(1, "a"), (1, "b"), (1, "c")]);
            // Those at once have a task each.
            noted.serve("d");
            noted.serve("e");
            noted.served(5).await;
            assert_eq!(noted.tasks.get(), 2);
        });
    }

    #[test]
    fn a_panic_costs_one_job() {
        run(async |noted| {
            noted.serve("a");
            noted.served(1).await;
            noted.serve("panic");
            noted.serve("b");
            noted.served(2).await;
            assert_eq!(*noted.notes.borrow(), [(1, "a"), (2, "b")]);
        });
    }

    #[test]
    fn tasks_that_wait_are_few_and_end_when_they_are_told_to() {
        run(async |noted| {
            (0..MOST_WAITING + 5).for_each(|_| noted.serve("a"));
            noted.served(MOST_WAITING + 5).await;
            assert_eq!(noted.ended.get(), 5);
            noted.pool.rest();
            noted.serve("b");
            noted.served(MOST_WAITING + 6).await;
            assert_eq!((noted.tasks.get(), noted.ended.get()), (MOST_WAITING + 6, MOST_WAITING + 5));
            noted.pool.end();
            noted.serve("c");
            noted.served(MOST_WAITING + 7).await;
            assert_eq!((noted.tasks.get(), noted.ended.get()), (MOST_WAITING + 7, MOST_WAITING + 7));
        });
    }
}
