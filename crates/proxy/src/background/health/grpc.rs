//! The gRPC health protocol (`grpc.health.v1.Health/Check`), as far as a check needs it.

use std::future::poll_fn;
use std::io;
use std::task::{Poll, ready};

use pylae_core::request::grpc;
use pylae_http::ResponseHead;

use super::probe::{LIMITS, MAX_DRAINED, ProbeResult, send};
use crate::io::socket::Socket;

/// The status `SERVING` of a healthy service.
const SERVING: u8 = 1;

/// Checks the health of the service `name`. An empty name stands for the whole server. `authorization` is a line of the
/// request's head, or nothing.
pub(super) async fn probe(
    socket: &mut Socket,
    authority: &str,
    name: &str,
    authorization: &[u8],
) -> io::Result<ProbeResult> {
    let message = request(name);
    let head = format!(
        "POST /grpc.health.v1.Health/Check HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: pylae-health-check\r\n\
         Content-Type: application/grpc\r\n"
    );
    send(socket, &[head.as_bytes(), authorization, b"\r\n", &message].concat()).await?;
    let (head, answer) = read(socket).await?;
    let trailers = socket.take_trailers();
    let status = grpc::read_status(&answer[..head.len]).or_else(|| grpc::read_status(&trailers));
    let (ok, reason) = match (head.status, status) {
        (200, Some(0)) if is_serving(&answer[head.len..]) => (true, "serving".to_owned()),
        (200, Some(0)) => (false, "not serving".to_owned()),
        (200, Some(status)) => (false, format!("gRPC status {status}")),
        (status, _) => (false, format!("status {status}")),
    };
    Ok(ProbeResult { ok, reason, rest: None })
}

/// Encodes a `HealthCheckRequest`, whose field 1 is the name, after the five-byte message prefix: not compressed, and
/// the length.
fn request(name: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(name.len() + 8);
    if !name.is_empty() {
        message.push(0x0A);
        let mut left = name.len();
        while left > 0x7F {
            message.push(left as u8 | 0x80);
            left >>= 7;
        }
        message.push(left as u8);
        message.extend_from_slice(name.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.append(&mut message);
    framed
}

/// Decodes a `HealthCheckResponse`, whose field 1 is the status, a number below 128.
fn is_serving(body: &[u8]) -> bool {
    matches!(body, [0, 0, 0, 0, 2, 0x08, SERVING])
}

/// Reads to the end of the stream. Returns the head of the final response and all bytes.
async fn read(socket: &mut Socket) -> io::Result<(ResponseHead, Vec<u8>)> {
    let mut head = ResponseHead::default();
    let mut buffer = Vec::with_capacity(LIMITS.head + MAX_DRAINED);
    poll_fn(|cx| {
        while ready!(socket.poll_read(cx, &mut buffer, usize::MAX))? > 0 {
            if buffer.len() == buffer.capacity() {
                return Poll::Ready(Err(io::Error::other("the answer is too long")));
            }
        }
        match head.parse(&buffer, &LIMITS) {
            Ok(true) => Poll::Ready(Ok(())),
            _ => Poll::Ready(Err(io::Error::other("the answer is not HTTP"))),
        }
    })
    .await?;
    Ok((head, buffer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_carry_the_name() {
        assert_eq!(request(""), [0, 0, 0, 0, 0]);
        assert_eq!(request("ab"), [0, 0, 0, 0, 4, 0x0A, 2, b'a', b'b']);
        let long = request(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 0x01, 0x2F, 0x0A, 0xAC, 0x02]);
        assert_eq!(long.len(), 5 + 303);
    }

    #[test]
    fn only_serving_is_well() {
        assert!(is_serving(&[0, 0, 0, 0, 2, 8, 1]));
        for body in [&[0, 0, 0, 0, 2, 8, 2][..], &[0, 0, 0, 0, 0], &[], &[1, 0, 0, 0, 2, 8, 1]] {
            assert!(!is_serving(body), "{body:?}");
        }
    }
}
