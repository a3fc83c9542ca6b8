//! The same load over HTTP/2: several exchanges at once on each connection, every answer checked.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{self, SendRequest};
use http::{HeaderMap, Method, Request};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio_rustls::TlsConnector;

use super::answer::Expected;
use super::histogram::Histogram;
use super::stream::NAME;
use super::{Outcome, PATIENCE, Schedule};

/// What is asked, and how.
pub(super) struct Plan {
    pub(super) address: SocketAddr,
    pub(super) path: String,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) expected: Expected,
    pub(super) connections: usize,
    /// Exchanges at once on each connection.
    pub(super) streams: usize,
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// A call of gRPC with one message each way, which must end with status 0.
    pub(super) grpc: bool,
}

/// One window as it goes on.
struct Window {
    schedule: Schedule,
    start: Instant,
    sent: Cell<u64>,
    done: Cell<u64>,
    histogram: RefCell<Histogram>,
    wrong: RefCell<Option<String>>,
}

/// Open connections and what they are asked.
pub(super) struct Load {
    runtime: tokio::runtime::Runtime,
    tasks: LocalSet,
    plan: Rc<Plan>,
    connections: Vec<SendRequest<Bytes>>,
}

impl Load {
    pub(super) fn new(plan: Plan) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        let tasks = LocalSet::new();
        let connections = runtime.block_on(tasks.run_until(async {
            let mut connections = Vec::new();
            for _ in 0..plan.connections {
                connections.push(connect(&plan).await.map_err(|e| format!("cannot connect to {}: {e}", plan.address))?);
            }
            Ok::<_, String>(connections)
        }))?;
        Ok(Self { runtime, tasks, plan: Rc::new(plan), connections })
    }

    /// Sends by the schedule, waits for the last answer.
    pub(super) fn window(&self, schedule: Schedule) -> Result<Outcome, String> {
        let window = Rc::new(Window {
            schedule,
            start: Instant::now(),
            sent: Cell::new(0),
            done: Cell::new(0),
            histogram: RefCell::new(Histogram::new()),
            wrong: RefCell::new(None),
        });
        self.runtime.block_on(self.tasks.run_until(async {
            let mut askers = Vec::new();
            for connection in &self.connections {
                for _ in 0..self.plan.streams {
                    let (plan, window, connection) = (Rc::clone(&self.plan), Rc::clone(&window), connection.clone());
                    askers.push(tokio::task::spawn_local(async move { window.ask(&plan, connection).await }));
                }
            }
            for asker in askers {
                if asker.await.is_err() {
                    window.wrong.replace(Some("a task of the load generator failed".to_owned()));
                }
            }
        }));
        if let Some(wrong) = window.wrong.take() {
            return Err(wrong);
        }
        let seconds = window.start.elapsed().as_secs_f64();
        let histogram = window.histogram.replace(Histogram::new());
        Ok(Outcome { requests: window.done.get(), seconds, histogram })
    }
}

impl Window {
    /// One request after the other on one connection, until the window is over or an answer was wrong.
    async fn ask(&self, plan: &Plan, mut connection: SendRequest<Bytes>) {
        while self.wrong.borrow().is_none() {
            let number = self.sent.get();
            if self.schedule.over(number, self.start, Instant::now()) {
                return;
            }
            self.sent.set(number + 1);
            let due = match self.schedule.interval {
                None => Instant::now(),
                Some(interval) => self.start + interval.mul_f64(super::index_of(number)),
            };
            if due > Instant::now() {
                tokio::time::sleep_until(due.into()).await;
            }
            match tokio::time::timeout(PATIENCE, plan.exchange(&mut connection)).await {
                Ok(Ok(())) => {}
                Ok(Err(what)) => return drop(self.wrong.replace(Some(format!("wrong answer: {what}")))),
                Err(_) => return drop(self.wrong.replace(Some(format!("no answer for {PATIENCE:?}")))),
            }
            self.histogram.borrow_mut().record(due.elapsed().as_nanos() as u64);
            self.done.set(self.done.get() + 1);
        }
    }
}

impl Plan {
    /// One request and its answer, checked.
    async fn exchange(&self, connection: &mut SendRequest<Bytes>) -> Result<(), String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let uri = format!("{scheme}://{}{}", self.address, self.path);
        let mut request =
            Request::builder().method(self.method.clone()).uri(uri).body(()).map_err(|e| e.to_string())?;
        request.headers_mut().clone_from(&self.headers);
        poll_fn(|cx| connection.poll_ready(cx)).await.map_err(|e| e.to_string())?;
        let (answer, mut body) = connection.send_request(request, !self.grpc).map_err(|e| e.to_string())?;
        if self.grpc {
            body.send_data(message(&self.expected.body), true).map_err(|e| e.to_string())?;
        }
        let (head, body) = answer.await.map_err(|e| e.to_string())?.into_parts();
        if head.status.as_u16() != self.expected.status {
            return Err(format!("status {}", head.status));
        }
        for required in &self.expected.headers {
            let wrong = |found| required.value.as_ref().is_some_and(|value| found != value.as_str());
            if head.headers.get(&required.name).is_none_or(wrong) {
                return Err(format!("no {}", required.name));
            }
        }
        let framed = if self.grpc { message(&self.expected.body) } else { Bytes::new() };
        let expected = if self.grpc { &framed[..] } else { &self.expected.body };
        let trailers = read(body, expected).await?;
        let status = trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
        if self.grpc && status.is_none_or(|status| status != "0") {
            return Err("the call did not end with status 0".to_owned());
        }
        Ok(())
    }
}

/// Compares a body with what it must be; what stands behind it.
async fn read(mut body: RecvStream, expected: &[u8]) -> Result<Option<HeaderMap>, String> {
    let mut seen = 0;
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(|e| e.to_string())?;
        if expected.get(seen..seen + piece.len()) != Some(&piece[..]) {
            return Err(format!("other bytes than expected behind the first {seen}"));
        }
        seen += piece.len();
        body.flow_control().release_capacity(piece.len()).map_err(|e| e.to_string())?;
    }
    if seen < expected.len() {
        return Err(format!("{} bytes are missing", expected.len() - seen));
    }
    body.trailers().await.map_err(|e| e.to_string())
}

/// A message of gRPC: not compressed, its length, its bytes.
pub(crate) fn message(body: &[u8]) -> Bytes {
    let mut framed = vec![0];
    framed.extend_from_slice(&(body.len() as u32).to_be_bytes());
    framed.extend_from_slice(body);
    framed.into()
}

async fn connect(plan: &Plan) -> io::Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(plan.address).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = &plan.tls else { return speak(stream).await };
    let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
    speak(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?).await
}

async fn speak<T: AsyncRead + AsyncWrite + Unpin + 'static>(stream: T) -> io::Result<SendRequest<Bytes>> {
    let (requests, connection) = client::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(8 << 20)
        .handshake(stream)
        .await
        .map_err(io::Error::other)?;
    // Whoever waits for an answer hears of an error.
    tokio::task::spawn_local(async move { drop(connection.await) });
    Ok(requests)
}
