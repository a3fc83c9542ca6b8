//! OTLP/gRPC: unary calls over one HTTP/2 connection (OTLP specification, "OTLP/gRPC"; "gRPC over HTTP2").

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use http::{HeaderMap, HeaderValue, Request};
use pylae_core::Problem;
use pylae_core::plan::{CollectorPlan, OtlpCompression};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use super::answer::{ExportOutcome, MAX_ANSWER, of_grpc, taken};
use super::http::USER_AGENT;
use crate::io::connect::connect_any;
use crate::io::socket::Socket;
use crate::io::tls::{AlpnProtocol, Connector};
use crate::io::wire::Wire;
use crate::snapshot::connector;
use crate::telemetry::otlp::lanes::Signal;
use crate::thread::runtime;

/// Bytes of the prefix of a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// Largest head of an answer.
const MAX_HEAD: u32 = 16 * 1024;

/// A client of one collector.
pub(super) struct GrpcTransport {
    // Before the tasks, whose sockets belong to it.
    tasks: LocalSet,
    runtime: Runtime,
    target: CollectorTarget,
    connection: Option<SendRequest<Bytes>>,
}

/// Whom to call.
struct CollectorTarget {
    host: String,
    port: u16,
    tls: Option<Arc<Connector>>,
    uri: String,
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
        let base = collector.endpoint.trim_end_matches('/');
        let uri_of_call = format!("{base}/opentelemetry.proto.collector.{service}/Export");
        Ok(Self { host: host.to_owned(), port, tls, uri: uri_of_call })
    }

    async fn connect(&self) -> io::Result<SendRequest<Bytes>> {
        let stream = connect_any(&self.host, self.port).await?;
        stream.set_nodelay(true)?;
        let socket = match &self.tls {
            None => Socket::Tcp(stream),
            Some(tls) => {
                let mut tls = Box::new(tls.connect(stream, self.host.trim_matches(['[', ']']))?);
                poll_fn(|cx| tls.poll_handshake(cx)).await?;
                if tls.protocol() != AlpnProtocol::Http2 {
                    return Err(io::Error::other("it does not speak HTTP/2"));
                }
                Socket::Tls(tls)
            }
        };
        let mut builder = Builder::new();
        builder.enable_push(false).max_header_list_size(MAX_HEAD);
        let (requests, connection) = builder.handshake(Wire::of_instance(socket)).await.map_err(io::Error::other)?;
        tokio::task::spawn_local(async move {
            // Every stream gets the error as well.
            let _ = connection.await;
        });
        Ok(requests)
    }
}

/// Calls over the kept connection, or over a new one if there is none or it has ended.
async fn call(
    target: &CollectorTarget,
    connection: &mut Option<SendRequest<Bytes>>,
    collector: &CollectorPlan,
    body: &Bytes,
    timeout: Duration,
) -> io::Result<ExportOutcome> {
    if let Some(kept) = connection.take()
        && let Ok(ready) = kept.ready().await
        && let Ok(outcome) = exchange(target, ready.clone(), collector, body, timeout).await
    {
        *connection = Some(ready);
        return Ok(outcome);
    }
    let requests = target.connect().await?.ready().await.map_err(io::Error::other)?;
    let outcome = exchange(target, requests.clone(), collector, body, timeout).await?;
    *connection = Some(requests);
    Ok(outcome)
}

async fn exchange(
    target: &CollectorTarget,
    mut requests: SendRequest<Bytes>,
    collector: &CollectorPlan,
    body: &Bytes,
    timeout: Duration,
) -> io::Result<ExportOutcome> {
    let is_compressed = collector.compression == OtlpCompression::Gzip;
    let mut request = Request::post(&target.uri)
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header("user-agent", USER_AGENT)
        .header("grpc-timeout", format!("{}m", timeout.as_millis().clamp(1, 99_999_999)));
    if is_compressed {
        request = request.header("grpc-encoding", "gzip");
    }
    for (name, value) in &collector.headers {
        request = request.header(name, value);
    }
    let request = request.body(()).map_err(io::Error::other)?;
    let (answer, mut stream) = requests.send_request(request, false).map_err(io::Error::other)?;
    let mut prefix = BytesMut::with_capacity(PREFIX);
    prefix.put_u8(is_compressed.into());
    prefix.put_u32(body.len() as u32);
    // What the collector's windows do not take yet, h2 keeps: the same bytes, not copied.
    stream.send_data(prefix.freeze(), false).map_err(io::Error::other)?;
    stream.send_data(body.clone(), true).map_err(io::Error::other)?;
    let (head, mut answer) = answer.await.map_err(io::Error::other)?.into_parts();
    let mut message = Vec::new();
    while let Some(piece) = answer.data().await {
        let piece = piece.map_err(io::Error::other)?;
        if message.len() + piece.len() > MAX_ANSWER {
            return Err(io::Error::other("the answer is too long"));
        }
        message.extend_from_slice(&piece);
        answer.flow_control().release_capacity(piece.len()).map_err(io::Error::other)?;
    }
    let trailers = answer.trailers().await.map_err(io::Error::other)?;
    Ok(judge(head.status.as_u16(), &head.headers, trailers.as_ref(), &message))
}

/// Judges an answer. Its status is in the trailers, or in the head if there is nothing else.
fn judge(status: u16, head: &HeaderMap, trailers: Option<&HeaderMap>, message: &[u8]) -> ExportOutcome {
    let field = |name: &str| trailers.and_then(|trailers| trailers.get(name)).or_else(|| head.get(name));
    let said = field("grpc-status").and_then(|value| value.to_str().ok()?.parse().ok());
    match (said, status) {
        (Some(0), 200) => match message.split_at_checked(PREFIX) {
            Some(([0, ..], message)) => taken(message),
            // It was taken. Nothing was said of compression, so what it says cannot be read.
            _ => taken(&[]),
        },
        (Some(status), _) if status != 0 => {
            let told = field("grpc-message").map_or(&[][..], |value| value.as_bytes());
            of_grpc(status, told, field("grpc-status-details-bin").map(HeaderValue::as_bytes))
        }
        (_, 429 | 502 | 503 | 504) => ExportOutcome::again(format!("HTTP status {status}")),
        (_, 200) => ExportOutcome::again("the answer has no grpc-status"),
        _ => ExportOutcome::Refused(format!("HTTP status {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_status_is_in_the_trailers_or_in_the_head() {
        let (ok, empty) = (fields(&[("grpc-status", "0")]), HeaderMap::new());
        let taken = ExportOutcome::Taken { refused: 0, told: String::new() };
        assert_eq!(judge(200, &empty, Some(&ok), &[0, 0, 0, 0, 0]), taken);
        assert_eq!(judge(200, &ok, None, &[]), taken);
        let full = fields(&[("grpc-status", "14"), ("grpc-message", "full")]);
        assert_eq!(judge(200, &full, None, &[]), ExportOutcome::again("UNAVAILABLE: full"));
        assert_eq!(judge(200, &empty, Some(&full), &[]), ExportOutcome::again("UNAVAILABLE: full"));
    }

    #[test]
    fn what_is_no_grpc_is_judged_by_its_status() {
        let empty = HeaderMap::new();
        assert_eq!(judge(503, &empty, None, b""), ExportOutcome::again("HTTP status 503"));
        assert_eq!(judge(404, &empty, None, b"<html>"), ExportOutcome::Refused("HTTP status 404".to_owned()));
        assert_eq!(judge(200, &empty, None, b""), ExportOutcome::again("the answer has no grpc-status"));
    }
}
