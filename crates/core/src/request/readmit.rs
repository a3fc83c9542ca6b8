//! Admits a request again after early hooks: what they have set becomes the request itself, in a head that is written
//! anew and read like a client's, so that whatever comes behind judges what will be forwarded.

use pylae_http::{Form, HeadLimits, Name, NameSet, Version};

use super::admit;
use super::forwarding::dropped_fields;
use crate::exchange::Exchange;
use crate::exchange::halt::Halt;
use crate::hook;

/// Makes what hooks have set the request itself: path, query, Host and fields. Identity and forwarding fields that the
/// client has no say in go. Fails if the result is no valid request; the exchange cannot be forwarded then, nor its
/// connection kept.
pub fn readmit(exchange: &mut Exchange, limits: &HeadLimits) -> Result<(), Halt> {
    if !is_changed(exchange) {
        return Ok(());
    }
    if exchange.hooks().is_some_and(|hooks| hooks.path_set) {
        exchange.request.client_path = exchange.request.asked_path().to_vec();
    }
    let mut written = std::mem::take(&mut exchange.scratch);
    written.clear();
    write_head(exchange, &mut written);
    let request = &mut exchange.request;
    request.buffer.splice(..request.head.len, written.iter().copied());
    exchange.scratch = written;
    request.head.clear();
    request.options.clear();
    request.edits.clear();
    request.forward_path.clear();
    request.forward_query = None;
    let complete = request.head.parse(&request.buffer, limits);
    let method = request.head.method;
    let is_read = complete == Ok(true)
        && request.options.read(&request.head.fields, &request.buffer).is_ok()
        && request.target.read_with_slashes(request.head.target.of(&request.buffer), method).is_ok();
    if let Some(hooks) = exchange.hooks_mut() {
        hooks.path_set = false;
        hooks.host = None;
    }
    if is_read && admit::read_host(exchange).is_ok() { Ok(()) } else { Err(Halt::Rejected(Box::new(hook::failure()))) }
}

fn is_changed(exchange: &Exchange) -> bool {
    let set = exchange.hooks().is_some_and(|hooks| hooks.path_set || hooks.host.is_some());
    set || exchange.request.forward_query.is_some() || !exchange.request.edits.is_empty()
}

/// Writes the head with what hooks have set. The fields that frame the message stay as the client has sent them.
fn write_head(exchange: &Exchange, out: &mut Vec<u8>) {
    let request = &exchange.request;
    let (head, buffer) = (&request.head, &request.buffer[..]);
    out.extend_from_slice(head.method_span.of(buffer));
    out.push(b' ');
    let path_set = exchange.hooks().is_some_and(|hooks| hooks.path_set);
    out.extend_from_slice(if path_set { &request.forward_path } else { &request.target.path });
    if let Some(query) = request.sent_query().filter(|_| path_set || request.target.form != Form::Asterisk) {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    out.extend_from_slice(if head.version == Version::Http10 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" });
    let host = exchange.hooks().and_then(|hooks| hooks.host.as_deref()).unwrap_or(&request.host);
    if !host.is_empty() || head.fields.has(Name::Host) {
        write_field(out, b"Host", host);
    }
    let dropped = dropped_fields(exchange).with(NameSet::of(&[Name::Host]));
    for field in &head.fields {
        let name = field.name.of(buffer);
        if !dropped.has(field.id) && !request.edits.removes(field.id, name) {
            write_field(out, name, field.value.of(buffer));
        }
    }
    for (name, value) in request.edits.added() {
        write_field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use pylae_http::Method;

    use super::*;

    const LIMITS: HeadLimits = HeadLimits { head: 4096, target: 1024, fields: 50 };

    /// A request as it stands behind its admission; `after` is what has arrived of the body.
    fn admitted(head: &str, after: &str) -> Exchange {
        let mut exchange = Exchange::new(0);
        exchange.request.buffer.extend_from_slice(format!("{head}\r\n\r\n{after}").as_bytes());
        assert_eq!(exchange.request.head.parse(&exchange.request.buffer, &LIMITS), Ok(true));
        admit::admit(&mut exchange, |_| false, 1).unwrap();
        exchange
    }

    fn text(exchange: &Exchange) -> String {
        String::from_utf8(exchange.request.buffer.clone()).unwrap()
    }

    #[test]
    fn what_no_hook_has_changed_is_left_alone() {
        let mut exchange = admitted("GET /a//b?c HTTP/1.1\r\nhost: X.example", "");
        let before = text(&exchange);
        assert_eq!(readmit(&mut exchange, &LIMITS), Ok(()));
        assert_eq!(text(&exchange), before);
        assert!(exchange.request.client_path.is_empty());
    }

    #[test]
    fn path_query_host_and_fields_become_the_request_and_the_body_stays() {
        let head = "POST /old?a=1 HTTP/1.1\r\nHost: one.example\r\nX-Old: 1\r\nContent-Length: 4\r\nX-User-Id: me";
        let mut exchange = admitted(head, "body");
        exchange.request.forward_path = b"/new".to_vec();
        exchange.request.forward_query = Some(b"b=2".to_vec());
        exchange.hook_visit().path_set = true;
        exchange.hook_visit().host = Some((*b"two.example:81").into());
        exchange.request.edits.remove(b"x-old");
        exchange.request.edits.set(b"X-New", b"2").unwrap();
        assert_eq!(readmit(&mut exchange, &LIMITS), Ok(()));
        assert_eq!(
            text(&exchange),
            "POST /new?b=2 HTTP/1.1\r\nHost: two.example:81\r\nContent-Length: 4\r\nX-New: 2\r\n\r\nbody"
        );
        let request = &exchange.request;
        assert_eq!((&*request.target.path, request.query()), (&b"/new"[..], Some(&b"b=2"[..])));
        assert_eq!((request.host_name(), &*request.host), (&b"two.example"[..], &b"two.example:81"[..]));
        assert_eq!((request.asked_path(), request.head.method), (&b"/old"[..], Method::Post));
        assert_eq!(&request.buffer[request.head.len..], b"body");
        assert!(request.edits.is_empty() && request.forward_path.is_empty() && request.forward_query.is_none());
        assert_eq!(request.values("x-new").next(), Some(&b"2"[..]));
    }

    #[test]
    fn an_absolute_target_keeps_its_authority() {
        let mut exchange = admitted("GET http://one.example/a HTTP/1.1\r\nHost: other.example", "");
        exchange.request.edits.set(b"X-New", b"1").unwrap();
        assert_eq!(readmit(&mut exchange, &LIMITS), Ok(()));
        assert_eq!(text(&exchange), "GET /a HTTP/1.1\r\nHost: one.example\r\nX-New: 1\r\n\r\n");
        assert_eq!(exchange.request.host, b"one.example");
    }

    #[test]
    fn what_is_too_large_or_no_request_is_a_failure_of_the_hook() {
        let code = |result: Result<(), Halt>| result.unwrap_err().code();
        let mut exchange = admitted("GET / HTTP/1.1\r\nHost: x", "");
        exchange.request.edits.set(b"X-New", &[b'a'; 5000]).unwrap();
        assert_eq!(code(readmit(&mut exchange, &LIMITS)), "hook_error");
        for path in ["/../up", "/a%2", "/a b", "/..;/b", ""] {
            let mut exchange = admitted("GET / HTTP/1.1\r\nHost: x", "");
            exchange.request.forward_path = path.into();
            exchange.hook_visit().path_set = true;
            assert_eq!(code(readmit(&mut exchange, &LIMITS)), "hook_error", "{path}");
        }
    }
}
