//! The tasks that serve the streams of a client's HTTP/2 connection. One that has served its stream waits for another,
//! so that most streams cost neither a task nor a deadline: those of the wheel are only let go when it comes round.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::client::{After, Client, ClientInfo};
use crate::flow;
use crate::io::client_watch::ClientWatch;
use crate::io::h2_stream::stream::H2Stream;
use crate::io::socket::Socket;
use crate::worker::Worker;

/// Most tasks that wait on a connection.
const MOST_WAITING: usize = 32;

/// The tasks of a connection.
pub(super) struct StreamTasks {
    worker: Rc<Worker>,
    watch: Rc<ClientWatch>,
    waiting: RefCell<Vec<Rc<StreamSeat>>>,
    /// The connection is over.
    over: Cell<bool>,
}

/// Where a task waits for a stream.
#[derive(Default)]
struct StreamSeat {
    state: RefCell<SeatState>,
}

#[derive(Default)]
enum SeatState {
    #[default]
    Empty,
    Waiting(Waker),
    Taken(H2Stream),
    /// There will be none.
    Dismissed,
}

impl StreamTasks {
    pub(super) fn new(worker: &Rc<Worker>, watch: &Rc<ClientWatch>) -> Rc<Self> {
        let (worker, watch) = (Rc::clone(worker), Rc::clone(watch));
        Rc::new(Self { worker, watch, waiting: RefCell::default(), over: Cell::new(false) })
    }

    /// Has a stream of the client served: by a task that waits, or else by a new one.
    pub(super) fn serve(self: &Rc<Self>, stream: H2Stream, info: &ClientInfo) {
        let waiting = self.waiting.borrow_mut().pop();
        if let Some(seat) = waiting {
            seat.change(SeatState::Taken(stream));
            return;
        }
        let tasks = Rc::clone(self);
        let deadline = self.worker.wheel.deadline();
        let mut client = Client::new(Socket::Stream(Box::new(stream)), info.clone(), deadline);
        tokio::task::spawn_local(async move {
            let seat = Rc::new(StreamSeat::default());
            loop {
                tasks.serve_stream(&mut client).await;
                client.leave_stream();
                let Some(stream) = tasks.next(&seat).await else { return };
                client.take_stream(stream);
            }
        });
    }

    async fn serve_stream(&self, client: &mut Client) {
        let worker = &self.worker;
        let mut exchange = worker.buffers.exchange();
        match flow::serve(worker, client, &mut exchange).await {
            Some(After::Keep | After::Close) => {
                if exchange.request.upgrades {
                    client.socket.end(&[]);
                    // Fails only if the stream has ended already.
                    let _ = client.socket.finish();
                } else if !exchange.is_call() {
                    // Read the rest of the request: some clients treat an early reset as a failure. gRPC clients rely
                    // on it.
                    client.drain(&worker.buffers, &mut exchange).await;
                }
                self.watch.served();
            }
            Some(After::Abort) | None => client.socket.close_by_reset(),
        }
        worker.buffers.give_back_exchange(exchange);
    }

    /// Waits for the next stream. None if the task is to end.
    async fn next(&self, seat: &Rc<StreamSeat>) -> Option<H2Stream> {
        if self.over.get() || self.waiting.borrow().len() >= MOST_WAITING {
            return None;
        }
        self.waiting.borrow_mut().push(Rc::clone(seat));
        poll_fn(|cx| seat.poll(cx)).await
    }

    /// Ends the tasks that wait.
    pub(super) fn rest(&self) {
        for seat in self.waiting.take() {
            seat.change(SeatState::Dismissed);
        }
    }

    /// Ends each task as soon as it has served its stream.
    pub(super) fn end(&self) {
        self.over.set(true);
        self.rest();
    }
}

impl StreamSeat {
    fn change(&self, to: SeatState) {
        if let SeatState::Waiting(waker) = self.state.replace(to) {
            waker.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Option<H2Stream>> {
        let mut state = self.state.borrow_mut();
        match std::mem::take(&mut *state) {
            SeatState::Taken(stream) => Poll::Ready(Some(stream)),
            SeatState::Dismissed => Poll::Ready(None),
            SeatState::Empty | SeatState::Waiting(_) => {
                *state = SeatState::Waiting(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
