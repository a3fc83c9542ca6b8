//! An instance whose health the test switches.

use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use socket2::SockRef;

use super::instance::OK;
use super::peer::Peer;

const UNHEALTHY: &[u8] = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n";

/// Answers everything with `OK`, and `/health` with 503 while it is unhealthy.
pub(crate) struct Switch {
    address: SocketAddr,
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
    healthy: Arc<AtomicBool>,
}

impl Switch {
    pub(crate) fn healthy() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let healthy = Arc::new(AtomicBool::new(true));
        let (accepting, told) = (listener.try_clone().unwrap(), Arc::clone(&healthy));
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                let (mut peer, told) = (Peer::new(stream), Arc::clone(&told));
                std::thread::spawn(move || {
                    while let Some(request) = peer.next_request() {
                        let fails = request.target() == "/health" && !told.load(Ordering::Relaxed);
                        if !peer.try_send(if fails { UNHEALTHY } else { OK }) {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, listener, thread: Some(thread), healthy }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn set(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Relaxed);
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        // Wake the accepting thread.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}
