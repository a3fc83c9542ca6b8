//! OTLP/gRPC: unary calls over one HTTP/2 connection (OTLP specification, "OTLP/gRPC"; "gRPC over HTTP2").

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use pylae_core::Problem;
use pylae_core::plan::{CollectorPlan, OtlpCompression};
use pylae_http::{HeadLimits, ResponseHead};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use super::answer::{ExportOutcome, MAX_ANSWER, of_grpc, taken};
use super::http::USER_AGENT;
use crate::io::connect::connect_any;
use crate::io::h2_stream::permit::StreamPermits;
use crate::io::h2_stream::shared::SharedHttp2;
use crate::io::h2_stream::stream::H2Stream;
use crate::io::socket::Socket;
use crate::io::tls::{AlpnProtocol, Connector};
use crate::snapshot::connector;
use crate::telemetry::otlp::lanes::Signal;
use crate::thread::runtime;
use crate::upstream::http2::InstanceConnection;

/// Bytes of the prefix of a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// What the head of an answer may be.
const LIMITS: HeadLimits = HeadLimits { head: 16 * 1024, target: 0, fields: 100 };

/// A client of one collector.
pub(super) struct GrpcTransport {
    // Before the tasks, whose sockets belong to it.
    tasks: LocalSet,
    runtime: Runtime,
    target: CollectorTarget,
    connection: Option<Rc<SharedHttp2>>,
}

/// Whom to call.
struct CollectorTarget {
    host: String,
    port: u16,
    tls: Option<Arc<Connector>>,
    /// The first lines of a request.
    head: String,
}

impl GrpcTransport {
    pub(super) fn new(collector: &CollectorPlan, signal: Signal) -> Result<Self, String> {
        let runtime = runtime().map_err(|error| error.to_string())?;
        Ok(Self { tasks: LocalSet::new(), runtime, target: CollectorTarget::new(collector, signal)?, connection: None })
    }

    pub(super) fn send(&mut self, collector: &CollectorPlan, body: &Bytes, timeout: Duration) -> ExportOutcome {
        let (target, connection) = (&self.target, &mut self.connection);
        let called = self.tasks.block_on(&self.runtime, async {
            tokio::time::timeout(timeout, call(target, connection, collector, body, timeout)).await
        });
        match called {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                self.connection = None;
                ExportOutcome::again(error.to_string())
            }
            Err(_) => {
                self.connection = None;
                ExportOutcome::again("no answer in time")
            }
        }
    }
}

impl CollectorTarget {
    fn new(collector: &CollectorPlan, signal: Signal) -> Result<Self, String> {
        let uri: http::Uri = collector.endpoint.parse().map_err(|_| "this is not an address")?;
        let (Some(host), is_secure) = (uri.host(), uri.scheme_str() == Some("https")) else {
            return Err("this is not an address".to_owned());
        };
        let told =
            |found: Vec<Problem>| found.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; ");
        let tls = is_secure.then(|| connector(collector)).transpose().map_err(told)?;
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let service = match signal {
            Signal::Traces => "trace.v1.TraceService",
            Signal::Metrics => "metrics.v1.MetricsService",
            Signal::Logs => "logs.v1.LogsService",
        };
        let authority = uri.authority().map_or(host, http::uri::Authority::as_str);
        let path = uri.path().trim_end_matches('/');
        let head = format!(
            "POST {path}/opentelemetry.proto.collector.{service}/Export HTTP/1.1\r\nhost: {authority}\r\n\
             content-type: application/grpc\r\nuser-agent: {USER_AGENT}\r\n"
        );
        Ok(Self { host: host.to_owned(), port, tls, head })
    }

    async fn connect(&self) -> io::Result<Rc<SharedHttp2>> {
        let stream = connect_any(&self.host, self.port).await?;
        stream.set_nodelay(true)?;
        let socket = match &self.tls {
            None => stream.into(),
            Some(tls) => {
                let mut tls = Box::new(tls.connect(stream, self.host.trim_matches(['[', ']']))?);
                poll_fn(|cx| tls.poll_handshake(cx)).await?;
                if tls.protocol() != AlpnProtocol::Http2 {
                    return Err(io::Error::other("it does not speak HTTP/2"));
                }
                Socket::Tls(tls)
            }
        };
        let connection = InstanceConnection::over(socket);
        let shared = Rc::clone(connection.shared());
        tokio::task::spawn_local(connection.run());
        Ok(shared)
    }

    /// Encodes the head of a call. Fails if a configured field is none.
    fn head_of_call(&self, collector: &CollectorPlan, timeout: Duration) -> io::Result<Vec<u8>> {
        let mut head = self.head.clone();
        let millis = timeout.as_millis().clamp(1, 99_999_999).to_string();
        head.extend(["grpc-timeout: ", &millis, "m\r\n"]);
        if collector.compression == OtlpCompression::Gzip {
            head.push_str("grpc-encoding: gzip\r\n");
        }
        for (name, value) in &collector.headers {
            if name.is_empty() || [name, value].iter().any(|text| text.bytes().any(|byte| byte < b' ' || byte == 0x7F))
            {
                return Err(io::Error::other("a header of the collector that is none"));
            }
            head.extend([&**name, ": ", &**value, "\r\n"]);
        }
        head.push_str("\r\n");
        Ok(head.into_bytes())
    }
}

/// Calls over the kept connection, or over a new one if there is none or it has ended.
async fn call(
    target: &CollectorTarget,
    connection: &mut Option<Rc<SharedHttp2>>,
    collector: &CollectorPlan,
    body: &Bytes,
    timeout: Duration,
) -> io::Result<ExportOutcome> {
    if let Some(kept) = connection.take().filter(|kept| kept.is_usable())
        && let Ok(outcome) = exchange(target, &kept, collector, body, timeout).await
    {
        *connection = Some(kept);
        return Ok(outcome);
    }
    let fresh = target.connect().await?;
    let outcome = exchange(target, &fresh, collector, body, timeout).await?;
    *connection = Some(fresh);
    Ok(outcome)
}

async fn exchange(
    target: &CollectorTarget,
    connection: &Rc<SharedHttp2>,
    collector: &CollectorPlan,
    body: &Bytes,
    timeout: Duration,
) -> io::Result<ExportOutcome> {
    let mut request = target.head_of_call(collector, timeout)?;
    request.push((collector.compression == OtlpCompression::Gzip).into());
    request.extend_from_slice(&(body.len() as u32).to_be_bytes());
    let permit = StreamPermits::new().acquire();
    let mut stream = H2Stream::outbound(Rc::clone(connection), target.tls.is_some(), permit);
    let (mut unsent, mut answer) = ([&request[..], &body[..]], Vec::with_capacity(LIMITS.head + MAX_ANSWER));
    poll_fn(|cx| {
        // A collector may answer before it has read everything.
        let sent = poll_send(cx, &mut stream, &mut unsent);
        match poll_answer(cx, &mut stream, &mut answer) {
            Poll::Pending => match ready!(sent) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
            read @ Poll::Ready(_) => read,
        }
    })
    .await?;
    let mut head = ResponseHead::default();
    while head.parse(&answer, &LIMITS).is_ok_and(|whole| whole && head.status < 200) {
        answer.drain(..head.len);
        head.clear();
    }
    if head.len == 0 {
        return Err(io::Error::other("the answer is not HTTP"));
    }
    Ok(judge(head.status, &answer[..head.len], &stream.take_trailers(), &answer[head.len..]))
}

/// Sends the request, whose body is the last of the parts.
fn poll_send(cx: &mut Context<'_>, stream: &mut H2Stream, unsent: &mut [&[u8]; 2]) -> Poll<io::Result<()>> {
    while let Some(last) = unsent.iter().position(|part| !part.is_empty()) {
        if last == 1 {
            stream.end(&[]);
        }
        let written = ready!(stream.poll_write(cx, unsent[last]))?;
        unsent[last] = &unsent[last][written..];
    }
    Poll::Ready(stream.finish())
}

/// Reads to the end of the stream.
fn poll_answer(cx: &mut Context<'_>, stream: &mut H2Stream, answer: &mut Vec<u8>) -> Poll<io::Result<()>> {
    loop {
        let room = answer.capacity() - answer.len();
        if room == 0 {
            return Poll::Ready(Err(io::Error::other("the answer is too long")));
        }
        if ready!(stream.poll_read(cx, answer, room))? == 0 {
            return Poll::Ready(Ok(()));
        }
    }
}

/// Judges an answer. Its status is in the trailers, or in the head if there is nothing else.
fn judge(status: u16, head: &[u8], trailers: &[u8], message: &[u8]) -> ExportOutcome {
    let field = |name: &str| value_of(trailers, name).or_else(|| value_of(head, name));
    let said = field("grpc-status").and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    match (said, status) {
        (Some(0), 200) => match message.split_at_checked(PREFIX) {
            Some(([0, ..], message)) => taken(message),
            // It was taken. Nothing was said of compression, so what it says cannot be read.
            _ => taken(&[]),
        },
        (Some(status), _) if status != 0 => {
            of_grpc(status, field("grpc-message").unwrap_or_default(), field("grpc-status-details-bin"))
        }
        (_, 429 | 502 | 503 | 504) => ExportOutcome::again(format!("HTTP status {status}")),
        (_, 200) => ExportOutcome::again("the answer has no grpc-status"),
        _ => ExportOutcome::Refused(format!("HTTP status {status}")),
    }
}

/// The value of the first field of this name in lines.
fn value_of<'a>(lines: &'a [u8], name: &str) -> Option<&'a [u8]> {
    lines.split(|&byte| byte == b'\n').find_map(|line| {
        let (found, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        found.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_in_the_trailers_or_in_the_head() {
        let (ok, empty) = (&b"Grpc-Status: 0\r\n"[..], &b""[..]);
        let taken = ExportOutcome::Taken { refused: 0, told: String::new() };
        assert_eq!(judge(200, empty, ok, &[0, 0, 0, 0, 0]), taken);
        assert_eq!(judge(200, ok, empty, &[]), taken);
        let full = &b"grpc-status: 14\r\ngrpc-message: full\r\n"[..];
        assert_eq!(judge(200, full, empty, &[]), ExportOutcome::again("UNAVAILABLE: full"));
        assert_eq!(judge(200, empty, full, &[]), ExportOutcome::again("UNAVAILABLE: full"));
    }

    #[test]
    fn what_is_no_grpc_is_judged_by_its_status() {
        assert_eq!(judge(503, b"", b"", b""), ExportOutcome::again("HTTP status 503"));
        assert_eq!(judge(404, b"", b"", b"<html>"), ExportOutcome::Refused("HTTP status 404".to_owned()));
        assert_eq!(judge(200, b"", b"", b""), ExportOutcome::again("the answer has no grpc-status"));
    }
}
