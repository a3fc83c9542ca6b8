//! What must hold of what a hook host answers, for any bytes. Called by the fuzz target and by `crates/core/tests`.
#![allow(clippy::expect_used, reason = "what fails here is a finding")]

use pylae_core::Exchange;
use pylae_core::hook::flat::{Bodies, FlatReader, FlatWriter, HookChanges, HostedStep, read_exchange, read_step};
use pylae_core::hook::flat::{write_changes, write_exchange};
use pylae_http::{Edits, HeadLimits, Method};

/// `data` as an answer, which is taken or refused, and as an exchange.
pub(crate) fn check(data: &[u8]) {
    let mut exchange = exchange();
    answer(data, &mut exchange);
    // What was taken can be sent to a host again.
    let mut sent = FlatWriter::default();
    write_exchange(&exchange, &mut Bodies::default(), &mut sent);
    let seen = read_exchange(&mut FlatReader::new(&sent.0), &mut Bodies::default()).expect("what was taken is sent");
    assert_eq!(seen.request.forward_path, exchange.request.forward_path);
    if let Some(seen) = read_exchange(&mut FlatReader::new(data), &mut Bodies::default()) {
        write_changes(&seen, &mut Bodies::default(), &mut FlatWriter::default());
    }
}

fn answer(data: &[u8], exchange: &mut Exchange) {
    let mut from = FlatReader::new(data);
    let Some(step) = read_step(&mut from) else { return };
    match &step {
        HostedStep::Answer(answer) => {
            assert!((200..600).contains(&answer.status));
            assert!(answer.headers.iter().all(|(name, value)| is_line(name.as_bytes()) && is_line(value)));
        }
        HostedStep::Reject(rejection) => {
            assert!((400..600).contains(&rejection.status));
            assert!(
                rejection.headers.iter().all(|(name, value)| is_line(name.as_bytes()) && is_line(value.as_bytes()))
            );
        }
        HostedStep::Continue => {}
    }
    let status = exchange.response.status;
    let Some(changes) = HookChanges::read(&mut from, exchange, &mut Bodies::default(), false) else { return };
    changes.apply(exchange);
    let request = &exchange.request;
    assert!(is_word(&request.forward_path) && request.forward_query.as_deref().is_none_or(is_word));
    assert!(is_sound(&request.edits) && is_sound(&exchange.response.edits));
    assert!(exchange.response.status == status || (200..600).contains(&exchange.response.status));
    if let Some(user) = &exchange.request.user {
        assert!([&user.id, &user.email, &user.role].iter().all(|told| is_line(told.as_bytes())));
    }
    if let Some(hooks) = exchange.hooks() {
        assert!(is_sound(&hooks.fields) && hooks.host.as_deref().is_none_or(is_word));
    }
}

fn exchange() -> Exchange {
    let mut exchange = Exchange::new(0);
    exchange.recorded = true;
    exchange.request.buffer.extend_from_slice(b"GET /a?b=1 HTTP/1.1\r\nHost: shop.test\r\nX-A: 1\r\n\r\n");
    let limits = HeadLimits { head: 4096, target: 1024, fields: 50 };
    assert_eq!(exchange.request.head.parse(&exchange.request.buffer, &limits), Ok(true));
    let request = &mut exchange.request;
    request.target.read(request.head.target.of(&request.buffer), Method::Get).expect("a target");
    request.host = b"shop.test".to_vec();
    request.host_len = request.host.len();
    exchange
}

fn is_sound(edits: &Edits) -> bool {
    edits.added().all(|(name, value)| is_word(name) && is_line(value))
}

fn is_line(text: &[u8]) -> bool {
    !text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | b'\0'))
}

fn is_word(text: &[u8]) -> bool {
    is_line(text) && !text.contains(&b' ')
}
