use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll};
use std::time::Duration;

use pylae_core::hook::flat::{Bodies, FlatMessage, FlatMessageKind, FlatWriter, write_changes, write_step};
use pylae_core::hook::{HookCall, HookFailed, HookStage, HookStream, Hooks, On, OnError, Run, Step};
use pylae_core::plan::Seconds;
use pylae_core::{Answer, Exchange, Problem};

use super::*;
use crate::telemetry::log::Log;
use crate::worker::hosts::lane::Lane;
use crate::worker::hosts::memory::{LaneDirection, RingEnd};
use crate::worker::hosts::{HostSet, HostState, HostedStage};

/// Hooks that note what they see, and answer what has `X-Answer`.
struct Noting;

impl Hooks for Noting {
    fn on_request(&self, exchange: &mut Exchange) -> Step {
        exchange.request.edits.set(b"X-Path", &exchange.request.target.path.clone()).unwrap();
        let visit = exchange.hook_visit();
        visit.session = Some(Box::new(7u32));
        if exchange.request.head.fields.has(pylae_http::Name::Range) {
            return Step::Wait { until: Box::pin(std::future::pending()), timeout: Duration::from_millis(1) };
        }
        if exchange.request.values("x-answer").next().is_some() {
            let body = (*b"mine").into();
            return Step::Answer(Box::new(Answer { status: 201, headers: Vec::new(), body }));
        }
        Step::Continue
    }

    fn on_response(&self, exchange: &mut Exchange) -> Step {
        let kept = exchange.hook_visit().session.take().and_then(|session| session.downcast::<u32>().ok());
        exchange.response.status = 400 + kept.map_or(0, |kept| *kept as u16);
        Step::Continue
    }

    fn on_refusal(&self, _exchange: &mut Exchange) -> Step {
        Step::Continue
    }

    fn resume(&self, exchange: &mut Exchange, in_time: bool) -> Step {
        exchange.request.edits.set(b"X-In-Time", if in_time { b"1" } else { b"0" }).unwrap();
        Step::Continue
    }

    fn sees_responses(&self) -> bool {
        true
    }

    fn stream(&self, _exchange: &mut Exchange) -> Option<Box<dyn HookStream>> {
        Some(Box::new(Loud(Vec::new(), false)))
    }
}

/// Passes pieces on in capitals.
struct Loud(Vec<Vec<u8>>, bool);

impl HookStream for Loud {
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn push(&mut self, piece: &[u8], end: bool) {
        self.0.push(piece.to_ascii_uppercase());
        self.1 |= end;
    }

    fn poll_pull(&mut self, _cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Result<bool, HookFailed>> {
        if self.0.is_empty() {
            return if self.1 { Poll::Ready(Ok(false)) } else { Poll::Pending };
        }
        out.extend_from_slice(&self.0.remove(0));
        Poll::Ready(Ok(true))
    }
}

struct Source;

impl HookSource for Source {
    fn compile(&self, _stage: HookStage<'_>, _calls: &[HookCall]) -> Result<Arc<dyn Hooks>, Vec<Problem>> {
        Ok(Arc::new(Noting))
    }
}

fn call(on: On, on_error: OnError) -> HookCall {
    let timeout = Seconds(Duration::from_secs(5));
    let (hook, name) = (0, "note".to_owned());
    let (body, error_body, budget) = (None, None, None);
    HookCall { hook, name, on, run: Run::Worker, timeout, on_error, body, error_body, budget, malformed: false }
}

fn stage(set: &Arc<HostSet>, on_error: OnError) -> HostedStage {
    let calls = [call(On::Request, on_error), call(On::Response, on_error), call(On::Chunks, on_error)];
    let stage = HookStage::Route { name: "all", params: &[], settled: &[] };
    HostedStage::new(set, stage, &calls, &Arc::new(BTreeSet::new()), &Arc::<Log>::default())
}

fn exchange(head: &[u8]) -> Exchange {
    let limits = pylae_http::HeadLimits { head: 4096, target: 1024, fields: 50 };
    let mut exchange = Exchange::new(0);
    exchange.request.buffer.extend_from_slice(head);
    assert_eq!(exchange.request.head.parse(&exchange.request.buffer, &limits), Ok(true));
    let request = &mut exchange.request;
    request.target.read(request.head.target.of(&request.buffer), request.head.method).unwrap();
    exchange.response.status = 200;
    exchange
}

/// Runs a test as on a worker, with a host on another thread.
fn with_host<F: Future<Output = ()>>(test: impl FnOnce(Arc<HostSet>, u64) -> F) {
    let set = HostSet::new(1, 2).unwrap();
    let (number, ends) = set.add().unwrap();
    let own = |fd| unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned().unwrap();
    let duty = HostDuty::new(ends.descriptors().into_iter().map(own).collect()).unwrap();
    drop(ends);
    let stop = duty.stopper();
    let host = std::thread::spawn(move || {
        let source: Arc<dyn HookSource> = Arc::new(Source);
        // A host that has gone mad, or whose gateway has, ends.
        let _ = serve_host(duty, &source);
    });
    set.advance(number, HostState::Warm);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test(Arc::clone(&set), number));
    stop.stop();
    host.join().unwrap();
}

async fn finish(stage: &HostedStage, exchange: &mut Exchange, mut step: Step) -> Step {
    while let Step::Wait { until, timeout } = step {
        let in_time = tokio::time::timeout(timeout, until).await.is_ok();
        step = stage.resume(exchange, in_time);
    }
    step
}

async fn request(stage: &HostedStage, exchange: &mut Exchange) -> Step {
    let step = stage.on_request(exchange);
    finish(stage, exchange, step).await
}

/// The status of a rejection, or 0.
fn refused(step: &Step) -> u16 {
    if let Step::Reject(rejection) = step { rejection.status } else { 0 }
}

#[test]
fn both_halves_run_in_the_host_and_what_they_change_comes_back() {
    with_host(async |set, _| {
        let stage = stage(&set, OnError::Fail);
        for _ in 0..3 {
            let mut exchange = exchange(b"GET /a HTTP/1.1\r\n\r\n");
            assert!(matches!(request(&stage, &mut exchange).await, Step::Continue));
            assert_eq!(exchange.request.edits.get(b"x-path"), Some(&b"/a"[..]));
            let step = stage.on_response(&mut exchange);
            assert!(matches!(finish(&stage, &mut exchange, step).await, Step::Continue));
            assert_eq!(exchange.response.status, 407);
        }
        let mut exchange = exchange(b"GET /a HTTP/1.1\r\nX-Answer: 1\r\n\r\n");
        assert!(matches!(request(&stage, &mut exchange).await, Step::Answer(answer) if answer.status == 201));
        let mut waiting = super::tests::exchange(b"GET /a HTTP/1.1\r\nRange: bytes=0-\r\n\r\n");
        assert!(matches!(request(&stage, &mut waiting).await, Step::Continue));
        assert_eq!(waiting.request.edits.get(b"x-in-time"), Some(&b"0"[..]));
        assert_eq!(set.figures()[0].calls, 8);
        assert_eq!(set.figures()[0].in_flight, 0);
    });
}

#[test]
fn a_body_passes_with_back_pressure() {
    with_host(async |set, _| {
        let stage = stage(&set, OnError::Fail);
        let mut exchange = exchange(b"GET /a HTTP/1.1\r\n\r\n");
        let stream = RefCell::new(stage.stream(&mut exchange).unwrap());
        let (mut out, pieces) = (Vec::new(), 20usize);
        let mut sent = 0;
        std::future::poll_fn(|cx| {
            let mut stream = stream.borrow_mut();
            while sent < pieces && stream.poll_ready(cx).is_ready() {
                sent += 1;
                stream.push(&vec![b'a'; 50_000], sent == pieces);
            }
            loop {
                match stream.poll_pull(cx, &mut out) {
                    Poll::Ready(Ok(true)) => {}
                    Poll::Ready(end) => return Poll::Ready(end),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
        .unwrap();
        assert_eq!(out, vec![b'A'; 50_000 * pieces]);
    });
}

/// Runs a test as on a worker, with a host that does nothing by itself: what it sends is written by the test.
fn with_silent_host<F: Future<Output = ()>>(test: impl FnOnce(Arc<HostSet>, u64, RingEnd, Bell) -> F) {
    let set = HostSet::new(1, 10).unwrap();
    let (number, ends) = set.add().unwrap();
    let memory = SharedMemory::map(unsafe { BorrowedFd::borrow_raw(ends.descriptors()[0]) }).unwrap();
    let bell = unsafe { BorrowedFd::borrow_raw(ends.descriptors()[2]) }.try_clone_to_owned().unwrap();
    set.advance(number, HostState::Warm);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ring = RingEnd::new(&memory, 0, LaneDirection::ToWorker);
    LocalSet::new().block_on(&runtime, test(Arc::clone(&set), number, ring, Bell::of(bell)));
}

/// Writes a message as a host does.
fn tell(ring: &mut RingEnd, kind: FlatMessageKind, key: u64, write: impl FnOnce(&mut FlatWriter)) {
    let mut message = Vec::new();
    assert!(FlatMessage::write(&mut message, kind, key, write));
    assert_eq!(ring.write(&message), Ok(message.len()));
}

/// Writes the answer of a host whose hooks have nothing to say to the first half.
fn tell_done(ring: &mut RingEnd, key: u64, exchange: &Exchange) {
    tell(ring, FlatMessageKind::Done, key, |to| {
        to.flag(true);
        write_step(&Step::Continue, to);
        write_changes(exchange, &mut Bodies::default(), to);
    });
}

#[test]
fn what_is_lost_is_answered_as_the_hooks_say() {
    for (on_error, lost, without) in [(OnError::Skip, 0, 0), (OnError::Fail, 500, 503)] {
        with_silent_host(async |set, number, _ring, _bell| {
            let stage = stage(&set, on_error);
            let link = set.choose().unwrap();
            let mut waiting = exchange(b"GET /a HTTP/1.1\r\n\r\n");
            let step = stage.on_request(&mut waiting);
            set.advance(number, HostState::Lost);
            assert_eq!(refused(&finish(&stage, &mut waiting, step).await), lost);
            assert!(Lane::known(&link).is_none(), "no call is left that it could be needed for");
            // Nobody else takes it: its state is gone.
            let step = stage.on_response(&mut waiting);
            assert_eq!(refused(&finish(&stage, &mut waiting, step).await), lost);
            assert_eq!(refused(&request(&stage, &mut exchange(b"GET /a HTTP/1.1\r\n\r\n")).await), without);
            assert!(set.figures().is_empty());
        });
    }
}

#[test]
fn an_answer_counts_even_if_its_host_was_lost_before_it_has_rung() {
    with_silent_host(async |set, number, mut ring, _bell| {
        let stage = stage(&set, OnError::Fail);
        let link = set.choose().unwrap();
        let mut waiting = [(); 2].map(|()| exchange(b"GET /a HTTP/1.1\r\n\r\n"));
        let [first, second] = waiting.each_mut().map(|exchange| stage.on_request(exchange));
        tell_done(&mut ring, 1, &waiting[0]);
        set.advance(number, HostState::Lost);
        assert_eq!(refused(&finish(&stage, &mut waiting[1], second).await), 500);
        assert!(matches!(finish(&stage, &mut waiting[0], first).await, Step::Continue));
        assert!(Lane::known(&link).is_none());
        assert_eq!(link.in_flight.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn pieces_count_even_if_their_host_was_lost_before_it_has_rung() {
    for is_last in [false, true] {
        with_silent_host(async |set, number, mut ring, _bell| {
            let stage = stage(&set, OnError::Fail);
            let mut exchange = exchange(b"GET /a HTTP/1.1\r\n\r\n");
            let mut stream = stage.stream(&mut exchange).unwrap();
            stream.push(b"abc", true);
            let kind = if is_last { FlatMessageKind::LastPiece } else { FlatMessageKind::Piece };
            tell(&mut ring, kind, 2, |to| to.0.extend_from_slice(b"ABC"));
            set.advance(number, HostState::Lost);
            let mut out = Vec::new();
            let mut pull = async || std::future::poll_fn(|cx| stream.poll_pull(cx, &mut out)).await;
            assert_eq!(pull().await, Ok(true));
            assert_eq!(pull().await, if is_last { Ok(false) } else { Err(HookFailed) });
            assert_eq!(out, b"ABC");
        });
    }
}

#[test]
fn an_answer_that_nobody_waits_for_any_more_leaves_nothing_behind() {
    with_silent_host(async |set, _number, mut ring, bell| {
        let stage = stage(&set, OnError::Fail);
        let link = set.choose().unwrap();
        let mut waiting = [(); 2].map(|()| exchange(b"GET /a HTTP/1.1\r\n\r\n"));
        let [first, second] = waiting.each_mut().map(|exchange| stage.on_request(exchange));
        tell_done(&mut ring, 1, &waiting[0]);
        tell_done(&mut ring, 2, &waiting[1]);
        bell.ring();
        // Both have come by now; the client of the first has gone.
        assert!(matches!(finish(&stage, &mut waiting[1], second).await, Step::Continue));
        drop(first);
        assert_eq!(link.in_flight.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_full_host_gets_no_more_calls() {
    with_host(async |set, _| {
        let stage = stage(&set, OnError::Fail);
        let mut waiting = [(); 2].map(|()| exchange(b"GET /a HTTP/1.1\r\n\r\n"));
        let steps = waiting.each_mut().map(|exchange| stage.on_request(exchange));
        let step = stage.on_request(&mut exchange(b"GET /a HTTP/1.1\r\n\r\n"));
        assert!(matches!(step, Step::Reject(rejection) if rejection.status == 503));
        drop(steps);
        assert_eq!(set.figures()[0].in_flight, 0);
    });
}

#[test]
fn a_host_that_has_gone_mad_is_lost_and_the_worker_goes_on() {
    let strange: [&dyn Fn(&mut RingEnd); 3] = [
        &|ring| assert!(ring.write(&[0xff; 100]).is_ok()),
        &|ring| tell(ring, FlatMessageKind::Done, 1, |to| to.0.extend_from_slice(b"what")),
        &|ring| tell(ring, FlatMessageKind::Stage, 1, |_| {}),
    ];
    for write in strange {
        with_silent_host(async |set, _number, mut ring, bell| {
            let stage = stage(&set, OnError::Fail);
            let mut waiting = exchange(b"GET /a HTTP/1.1\r\n\r\n");
            let step = stage.on_request(&mut waiting);
            write(&mut ring);
            bell.ring();
            assert_eq!(refused(&finish(&stage, &mut waiting, step).await), 500);
            assert!(set.choose().is_none());
            assert_eq!(set.figures()[0].trouble, Some("mad"));
        });
    }
}

#[test]
fn a_host_that_takes_nothing_gets_no_calls_and_is_told_all_else() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let set = HostSet::new(1, 10).unwrap();
        let (number, _ends) = set.add().unwrap();
        set.advance(number, HostState::Warm);
        let lane = Lane::of(&set.choose().unwrap()).unwrap();
        while lane.send(FlatMessageKind::Piece, 1, |to| to.0.resize(to.0.len() + (32 << 20), 0)) {}
        assert!(!lane.introduce(0, b"{}"));
        assert!(!lane.introduce(0, b"{}"), "the host does not know it");
        assert!(lane.send(FlatMessageKind::End, 1, |_| {}));
    });
}
