//! HTTP/2 clients and instances, with the `h2` crate.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use http::{Request, Response};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::peer::PATIENCE;

/// A client's HTTP/2 connection with prior knowledge.
pub(crate) struct Client {
    runtime: Runtime,
    requests: h2::client::SendRequest<Bytes>,
    /// The result of the connection.
    end: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

/// A response that is awaited.
pub(crate) struct PendingResponse(h2::client::ResponseFuture);

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let runtime = runtime();
        let (requests, connection) = runtime.block_on(async {
            let stream = TcpStream::connect(address).await.unwrap();
            h2::client::handshake(stream).await.unwrap()
        });
        let end = runtime.spawn(connection);
        Self { runtime, requests, end }
    }

    /// Opens a stream with a request and its body.
    pub(crate) fn send(&mut self, request: Request<()>, body: &'static str) -> PendingResponse {
        let (response, mut stream) = self.requests.send_request(request, body.is_empty()).unwrap();
        if !body.is_empty() {
            stream.send_data(body.into(), true).unwrap();
        }
        // Run the runtime, so that the frames are sent.
        self.runtime.block_on(tokio::task::yield_now());
        PendingResponse(response)
    }

    /// Waits for the response and its body.
    pub(crate) fn read(&self, PendingResponse(response): PendingResponse) -> Response<String> {
        self.runtime.block_on(async {
            let response = timeout(PATIENCE, response).await.unwrap().unwrap();
            let (head, mut stream) = response.into_parts();
            let mut body = Vec::new();
            while let Some(piece) = timeout(PATIENCE, stream.data()).await.unwrap() {
                body.extend_from_slice(&piece.unwrap());
            }
            Response::from_parts(head, String::from_utf8(body).unwrap())
        })
    }

    /// Waits until the gateway has closed the connection without an error.
    pub(crate) fn wait_for_close(self) {
        drop(self.requests);
        self.runtime.block_on(async { timeout(PATIENCE, self.end).await }).unwrap().unwrap().unwrap();
    }
}

/// An instance that speaks HTTP/2 and answers each request with its path and body.
pub(crate) struct Instance {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    requests: Vec<Request<String>>,
}

impl Instance {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Seen>>::default();
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = accept(listener, shared) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, seen, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.lock().connections
    }

    /// Method, URI and body of each request.
    pub(crate) fn requests(&self) -> Vec<String> {
        let seen = self.seen.lock();
        seen.requests
            .iter()
            .map(|request| format!("{} {} {}", request.method(), request.uri(), request.body()))
            .collect()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

async fn accept(listener: tokio::net::TcpListener, seen: Arc<Mutex<Seen>>) {
    while let Ok((stream, _)) = listener.accept().await {
        seen.lock().connections += 1;
        tokio::spawn(serve(stream, Arc::clone(&seen)));
    }
}

async fn serve(stream: TcpStream, seen: Arc<Mutex<Seen>>) {
    // The gateway may close the connection at any time, which ends this task.
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, answer))) = connection.accept().await {
        tokio::spawn(respond(request, answer, Arc::clone(&seen)));
    }
}

async fn respond(
    request: Request<h2::RecvStream>,
    mut answer: h2::server::SendResponse<Bytes>,
    seen: Arc<Mutex<Seen>>,
) {
    let (head, mut stream) = request.into_parts();
    let mut body = Vec::new();
    while let Some(Ok(piece)) = stream.data().await {
        body.extend_from_slice(&piece);
    }
    let body = String::from_utf8(body).unwrap();
    let said = format!("{} {body}", head.uri.path());
    seen.lock().requests.push(Request::from_parts(head, body));
    if let Ok(mut out) = answer.send_response(Response::new(()), false) {
        // As above.
        let _ = out.send_data(said.into(), true);
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}
