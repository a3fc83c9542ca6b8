use std::future::poll_fn;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::task::{Context, Poll, Wake, Waker};

use pylae_core::Problem;
use pylae_core::hook::{HookCall, HookSource, HookStage, Hooks};
use serde_json::json;

use super::*;
use crate::pool::http2::SharedConnection;
use crate::snapshot::fixture::{DroppedOn, answering, answering_plan, built, listening, struck_on};
use crate::telemetry::log::Log;
use crate::telemetry::panics::fixture::{PATIENCE, count, records, wait_until};
use crate::telemetry::panics::install;
use crate::thread::fixture::{Seated, on_worker, shared, until};
use crate::thread::{WorkerHandle, WorkerStart, spawn};

/// Panics if it is woken.
struct Mine;

impl Wake for Mine {
    fn wake(self: Arc<Self>) {
        panic!("woken");
    }
}

/// Panics when it is dropped.
struct Trap;

impl Wake for Trap {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Trap {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

/// Runs the loop of the worker in a task.
fn start(seated: &Seated) -> mpsc::UnboundedSender<Control> {
    let (sender, control) = mpsc::unbounded_channel();
    let mut seat = Seat {
        index: 0,
        snapshot: Arc::clone(&seated.snapshot),
        shared: Arc::clone(&seated.shared),
        stats: Arc::clone(&seated.worker.stats),
        recent: Arc::default(),
        heart: Arc::default(),
        open: Arc::default(),
        listeners: vec![(seated.address, Arc::clone(&seated.socket))],
        control,
        runtime: None,
        applied: None,
        stopped: false,
    };
    let worker = Rc::clone(&seated.worker);
    tokio::task::spawn_local(async move { run(worker, &mut seat).await });
    sender
}

/// Asserts that the duty has panicked once, and that the log says where.
fn assert_one_panic(log: &Log, duty: &str, place: &str) {
    assert_eq!(count(log, duty), 1);
    let found = records(log, duty);
    assert!(found.len() == 1 && found[0].contains(place), "{found:?}");
}

#[test]
fn the_wheel_turns_on_after_a_panic_and_no_deadline_is_lost() {
    on_worker(|seated| async move {
        let _control = start(&seated);
        let at = clock::now().saturating_add(Duration::from_millis(50));
        let struck = seated.worker.wheel.deadline();
        struck.set(at);
        assert!(!struck.poll_passed(&Context::from_waker(&Waker::from(Arc::new(Mine)))));
        // Due in the same turn as that.
        let others = [(); 100].map(|()| seated.worker.wheel.deadline());
        for deadline in &others {
            deadline.set(at);
        }
        let passed = poll_fn(|cx| {
            let left = others.iter().filter(|deadline| !deadline.poll_passed(cx)).count();
            if left == 0 { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::time::timeout(PATIENCE, passed).await.unwrap();
        let later = seated.worker.wheel.deadline();
        later.set(clock::now());
        let passed = later.within(|_| Poll::<()>::Pending);
        assert_eq!(tokio::time::timeout(PATIENCE, passed).await.unwrap(), None);
        assert!(seated.ask().await.ends_with("served"));
        assert_one_panic(seated.log(), "wheel", "run/tests.rs:");
    });
}

#[test]
fn the_sweep_goes_on_after_a_panic() {
    on_worker(|seated| async move {
        let _control = start(&seated);
        let stats = Arc::clone(&seated.worker.stats);
        {
            // An idle connection that is closed by the first sweep.
            let shared = SharedConnection::new(Duration::ZERO);
            let waker = Waker::from(Arc::new(Trap));
            assert!(shared.poll_open(&mut Context::from_waker(&waker)).is_pending());
            let connections = &seated.worker.shared_connections;
            assert!(connections.acquire(7, 1, false, || Some(shared)).is_some());
        }
        until(|| count(seated.log(), "sweep") == 1).await;
        stats.idle_upstream.set(99);
        until(|| stats.idle_upstream.get() == 0).await;
        assert!(seated.ask().await.ends_with("served"));
        assert_one_panic(seated.log(), "sweep", "run/tests.rs:");
    });
}

fn ask(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    client
}

/// Reads an answer whose body has `length` bytes.
fn read(client: &mut TcpStream, length: usize) -> String {
    let mut answer = Vec::new();
    while !answer.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    let mut body = vec![0; length];
    client.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

/// Starts the thread of a worker.
fn seat(
    index: usize,
    snapshot: Arc<Snapshot>,
    shared: &Arc<WorkerShared>,
    listeners: Vec<Listening>,
    hooks: Arc<dyn HookSource>,
) -> WorkerHandle {
    let (shared, recent) = (Arc::clone(shared), Arc::default());
    spawn(WorkerStart { index, snapshot, listeners, shared, hooks, recent }).unwrap()
}

#[test]
fn a_worker_that_panics_in_an_apply_starts_again_with_what_was_applied() {
    let shared = shared();
    install(&shared.log);
    let (address, socket) = listening();
    let snapshot = |answer| answering(address, answer, &json!({}));
    let hooks = Arc::new(DroppedOn("no thread"));
    let listeners = vec![(address, Arc::new(socket))];
    let handle = seat(0, Arc::new(snapshot("old")), &shared, listeners, hooks);
    let apply = |snapshot, added| {
        let (done, applied) = sync_channel(1);
        let message = Control::Apply { snapshot, added, removed: Vec::new(), done };
        assert!(handle.control.send(message).is_ok());
        applied.recv_timeout(PATIENCE).expect("the snapshot is in force");
    };
    let mut kept = ask(address);
    assert_eq!(read(&mut kept, 3), "old");
    // The worker is the last that drops this one, and panics.
    apply(struck_on("pylae-worker-0", snapshot("bad")), Vec::new());
    let (second, other) = listening();
    let mut plan = answering_plan(address, "new", &json!({}));
    let mut listener = plan.listeners[0].clone();
    listener.address = second;
    plan.listeners.push(listener);
    apply(Arc::new(built(plan)), vec![(second, Arc::new(other))]);
    for address in [address, second] {
        assert_eq!(read(&mut ask(address), 3), "new");
    }
    // Its connections are gone, and nobody counts them.
    match kept.read(&mut [0]) {
        Ok(count) => assert_eq!(count, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    wait_until(|| handle.stats.connections.get() == 0 && shared.connections() == 0);
    assert_eq!(handle.stats.in_flight.get(), 0);
    assert_one_panic(&shared.log, "worker", "snapshot/fixture.rs:");
    assert!(handle.control.send(Control::Stop { drain: None, closed: None }).is_ok());
    handle.thread.lock().take().unwrap().join().unwrap();
}

/// Panics once in what it sets up around a worker.
struct Unready(AtomicBool);

impl HookSource for Unready {
    fn compile(&self, _: HookStage<'_>, _: &[HookCall]) -> Result<Arc<dyn Hooks>, Vec<Problem>> {
        Err(Vec::new())
    }

    fn run_worker(&self, _: usize, run: &mut (dyn FnMut() + Send)) {
        assert!(self.0.swap(true, Ordering::Relaxed), "not ready");
        run();
    }
}

#[test]
fn a_worker_starts_again_if_what_hooks_set_up_around_it_panics() {
    let shared = shared();
    install(&shared.log);
    let (address, socket) = listening();
    let snapshot = Arc::new(answering(address, "own", &json!({})));
    let hooks = Arc::new(Unready(AtomicBool::new(false)));
    let handle = seat(3, snapshot, &shared, vec![(address, Arc::new(socket))], hooks);
    assert_eq!(read(&mut ask(address), 3), "own");
    assert_one_panic(&shared.log, "worker", "run/tests.rs:");
    assert!(handle.control.send(Control::Stop { drain: None, closed: None }).is_ok());
    handle.thread.lock().take().unwrap().join().unwrap();
}
