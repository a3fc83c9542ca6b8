use std::sync::Arc;

use proptest::prelude::*;
use pylae_http::{HeadLimits, Method};

use super::*;
use crate::exchange::Exchange;
use crate::exchange::answer::Answer;
use crate::exchange::halt::Rejection;
use crate::exchange::user::User;
use crate::hook::{BodyForm, HostedVisit, Step};
use crate::trace::{HookHalf, HookPlace, HookStep, StepKind};

const LIMITS: HeadLimits = HeadLimits { head: 4096, target: 1024, fields: 50 };

fn exchange(head: &[u8]) -> Exchange {
    let mut exchange = Exchange::new(0);
    exchange.request.buffer.extend_from_slice(head);
    assert_eq!(exchange.request.head.parse(&exchange.request.buffer, &LIMITS), Ok(true));
    let request = &mut exchange.request;
    request.target.read_with_slashes(request.head.target.of(&request.buffer), Method::Get).unwrap();
    request.host = b"shop.test:8080".to_vec();
    request.host_len = 9;
    request.id = b"request-1".to_vec();
    exchange
}

fn sent(exchange: &Exchange, bodies: &mut Bodies) -> Vec<u8> {
    let mut writer = FlatWriter::default();
    write_exchange(exchange, bodies, &mut writer);
    writer.0
}

fn changed(exchange: &Exchange, bodies: &mut Bodies) -> Vec<u8> {
    let mut writer = FlatWriter::default();
    write_changes(exchange, bodies, &mut writer);
    writer.0
}

fn user() -> Arc<User> {
    Arc::new(User {
        id: "u1".into(),
        permissions: vec!["read".into()],
        claims: serde_json::from_str(r#"{"a": [1]}"#).unwrap(),
        via: "jwt",
        ..User::default()
    })
}

#[test]
fn a_host_sees_what_hooks_in_the_gateway_see() {
    let mut exchange = exchange(b"GET /a%2Fb?x=1 HTTP/1.1\r\nHost: shop.test\r\nX-A: 1\r\nX-A: 2\r\n\r\n");
    exchange.request.edits.set(b"X-B", b"3").unwrap();
    exchange.request.edits.remove(b"X-A");
    exchange.request.user = Some(user());
    exchange.route = Some(3);
    exchange.hook_visit().request_body = Some((*b"body").into());
    exchange.response.buffer.extend_from_slice(b"HTTP/1.1 201 Made\r\nETag: 1\r\n\r\nrest");
    exchange.response.head.parse(&exchange.response.buffer, &LIMITS).unwrap();
    exchange.response.status = 201;
    let bytes = sent(&exchange, &mut Bodies::default());
    let mut reader = FlatReader::new(&bytes);
    let seen = read_exchange(&mut reader, &mut Bodies::default()).unwrap();
    assert!(reader.is_done());
    assert_eq!(seen.request.target.path, exchange.request.target.path);
    assert_eq!(seen.request.values("x-a").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(seen.request.edits.get(b"x-b"), Some(&b"3"[..]));
    assert_eq!(seen.request.edits.removed_names().collect::<Vec<_>>(), [&b"X-B"[..], b"X-A"]);
    assert_eq!((seen.request.user.clone(), seen.route), (Some(user()), Some(3)));
    assert_eq!((&seen.request.host, seen.request.host_len), (&exchange.request.host, 9));
    assert_eq!(seen.hooks().unwrap().request_body.as_deref(), Some(&b"body"[..]));
    assert_eq!((seen.response.status, seen.response.is_relayed()), (201, true));
    assert_eq!(seen.response.value("etag"), Some(&b"1"[..]));
}

#[test]
fn bodies_and_users_go_once() {
    let mut exchange = exchange(b"GET / HTTP/1.1\r\n\r\n");
    exchange.request.user = Some(user());
    exchange.hook_visit().request_body = Some(vec![b'x'; 1000].into());
    let (mut ours, mut theirs) = (Bodies::default(), Bodies::default());
    let first = sent(&exchange, &mut ours);
    read_exchange(&mut FlatReader::new(&first), &mut theirs).unwrap();
    let second = sent(&exchange, &mut ours);
    assert!(second.len() + 1000 < first.len());
    let seen = read_exchange(&mut FlatReader::new(&second), &mut theirs).unwrap();
    assert_eq!(seen.hooks().unwrap().request_body.as_ref().unwrap().len(), 1000);
    // Nor do they come back.
    let answer = changed(&seen, &mut theirs);
    HookChanges::read(&mut FlatReader::new(&answer), &exchange, &mut ours, false).unwrap().apply(&mut exchange);
    assert_eq!(exchange.request.user.as_ref().unwrap().via, "jwt");
}

#[test]
fn what_hooks_change_comes_back() {
    let mut exchange = exchange(b"GET /a HTTP/1.1\r\n\r\n");
    exchange.recorded = true;
    let (mut ours, mut theirs) = (Bodies::default(), Bodies::default());
    let bytes = sent(&exchange, &mut ours);
    let mut seen = read_exchange(&mut FlatReader::new(&bytes), &mut theirs).unwrap();
    seen.request.forward_path = b"/b".to_vec();
    seen.request.forward_query = Some(b"q=1".to_vec());
    seen.request.edits.set(b"X-New", b"1").unwrap();
    seen.response.status = 418;
    let visit = seen.hook_visit();
    (visit.host, visit.service) = (Some((*b"other.test").into()), Some("other".into()));
    (visit.response_body, visit.body_set, visit.path_set) = (Some((*b"new").into()), true, true);
    visit.hosted.as_ref().unwrap().tell(Some(1), 7);
    let (place, half) = (HookPlace::Route, HookHalf::Request);
    let step = StepKind::Hook(HookStep { place, index: 2, half, failed: true });
    seen.record_span(9, step, crate::Instant::from_nanos(1), crate::Instant::from_nanos(2));
    let answer = changed(&seen, &mut theirs);
    let changes = HookChanges::read(&mut FlatReader::new(&answer), &exchange, &mut ours, false).unwrap();
    assert_eq!(changes.service(), Some("other"));
    assert_eq!(changes.apply(&mut exchange), [(Some(1), 7)]);
    assert_eq!(exchange.request.forward_path, b"/b");
    assert_eq!(exchange.request.sent_query(), Some(&b"q=1"[..]));
    assert_eq!(exchange.request.edits.get(b"x-new"), Some(&b"1"[..]));
    assert_eq!(exchange.response.status, 418);
    let visit = exchange.hooks().unwrap();
    assert_eq!((visit.host.as_deref(), visit.body_set, visit.path_set), (Some(&b"other.test"[..]), true, true));
    assert_eq!(visit.response_body.as_deref(), Some(&b"new"[..]));
    assert_eq!(exchange.trace().unwrap().steps().len(), 1);
}

#[test]
fn a_host_cannot_write_what_a_hook_could_not() {
    let exchange = exchange(b"GET /a HTTP/1.1\r\n\r\n");
    let refused = |change: &dyn Fn(&mut Exchange)| {
        let mut seen = Exchange::new(0);
        seen.hook_visit().hosted = Some(Box::new(HostedVisit::default()));
        change(&mut seen);
        let answer = changed(&seen, &mut Bodies::default());
        HookChanges::read(&mut FlatReader::new(&answer), &exchange, &mut Bodies::default(), false).is_none()
    };
    assert!(!refused(&|_| {}));
    assert!(refused(&|seen| seen.request.forward_path = b"/a HTTP/1.1\r\nX: 1\r\n\r\nGET /".to_vec()));
    assert!(refused(&|seen| seen.request.forward_path = b"/../secret".to_vec()));
    assert!(refused(&|seen| seen.request.forward_path = b"/a%2Fb".to_vec()));
    assert!(refused(&|seen| seen.request.forward_query = Some(b"a b".to_vec())));
    assert!(refused(&|seen| seen.response.status = 101));
    assert!(refused(&|seen| seen.hook_visit().host = Some((*b"a/b").into())));
    assert!(refused(&|seen| seen.hook_visit().spans.bytes = vec![0; 1 << 20]));
    assert!(refused(&|seen| {
        seen.request.user = Some(Arc::new(User { id: "a\r\nb".into(), ..User::default() }));
    }));
}

#[test]
fn steps_come_back_and_what_cannot_be_sent_is_refused() {
    let read = |step: &Step| {
        let mut writer = FlatWriter::default();
        write_step(step, &mut writer);
        read_step(&mut FlatReader::new(&writer.0))
    };
    let answer = |headers: Vec<_>| Step::Answer(Box::new(Answer { status: 200, headers, body: (*b"b").into() }));
    assert!(matches!(read(&Step::Continue), Some(HostedStep::Continue)));
    let good = answer(vec![("X-A".into(), b"\xe4".to_vec())]);
    assert!(matches!(read(&good), Some(HostedStep::Answer(answer)) if answer.headers[0].1 == b"\xe4"));
    for bad in [("Content-Length", "1"), ("X", "a\nb"), ("a b", "1")] {
        assert!(read(&answer(vec![(bad.0.into(), bad.1.as_bytes().to_vec())])).is_none(), "{bad:?}");
    }
    let rejection = Rejection { status: 403, code: "http_error", message: "no".into(), headers: Vec::new() };
    assert!(
        matches!(read(&Step::Reject(Box::new(rejection.clone()))), Some(HostedStep::Reject(read)) if *read == rejection)
    );
    let strange = Rejection { code: "rate_limited", ..rejection };
    assert!(read(&Step::Reject(Box::new(strange))).is_none());
}

#[test]
fn a_message_that_is_too_large_is_taken_back() {
    let mut out = vec![1];
    assert!(!FlatMessage::write(&mut out, FlatMessageKind::Piece, 7, |to| to.0.resize(to.0.len() + MOST + 1, 0)));
    assert_eq!(out, [1]);
    assert!(FlatMessage::write(&mut out, FlatMessageKind::Done, 7, |to| to.byte(5)));
    let head = FlatMessage::read(out[1..].first_chunk().unwrap());
    assert_eq!(head, Some(FlatMessage { kind: FlatMessageKind::Done, key: 7, len: 1 }));
    assert_eq!(FlatMessage::read(&[0xff; HEAD]), None);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let exchange = Exchange::new(0);
        let _ = HookChanges::read(&mut FlatReader::new(&bytes), &exchange, &mut Bodies::default(), false);
        let _ = read_step(&mut FlatReader::new(&bytes));
        let _ = read_exchange(&mut FlatReader::new(&bytes), &mut Bodies::default());
    }

    #[test]
    fn a_damaged_answer_is_read_or_refused(at in 0usize..400, byte in any::<u8>()) {
        let exchange = exchange(b"GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        let mut seen = super::tests::exchange(b"GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        seen.request.edits.set(b"X-New", b"1").unwrap();
        seen.hook_visit().body_form = BodyForm::Plain;
        let mut answer = changed(&seen, &mut Bodies::default());
        let at = at % answer.len();
        answer[at] = byte;
        let _ = HookChanges::read(&mut FlatReader::new(&answer), &exchange, &mut Bodies::default(), false);
    }
}
