//! The origin of gRPC calls: HTTP/2 without TLS, every message is sent back.

use std::future::poll_fn;
use std::io;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::{self, SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

/// Serves what connects to `listener`, for ever.
pub(crate) fn run(listener: std::net::TcpListener) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let tasks = LocalSet::new();
    let served: io::Result<()> = runtime.block_on(tasks.run_until(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(serve(stream));
        }
    }));
    served.map_err(|e| e.to_string())
}

async fn serve(stream: TcpStream) -> Result<(), h2::Error> {
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(1000).initial_connection_window_size(8 << 20);
    let mut connection = builder.handshake(stream).await?;
    while let Some(call) = poll_fn(|cx| connection.poll_accept(cx)).await {
        let (request, answer) = call?;
        tokio::task::spawn_local(echo(request, answer));
    }
    Ok(())
}

async fn echo(request: Request<RecvStream>, mut answer: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let mut body = request.into_body();
    let mut said = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        said.extend_from_slice(&piece);
    }
    let mut head = Response::new(());
    head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut back = answer.send_response(head, false)?;
    back.send_data(said.freeze(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    back.send_trailers(trailers)
}
