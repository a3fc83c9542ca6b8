//! An instance that is well or not, as the test says.

use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use socket2::SockRef;

use super::instance::OK;
use super::peer::Peer;

const NOT_WELL: &[u8] = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n";

/// It answers everything with `OK`, and `/health` with 503 while it is not well.
pub(crate) struct Switch {
    address: SocketAddr,
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
    well: Arc<AtomicBool>,
}

impl Switch {
    pub(crate) fn well() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let well = Arc::new(AtomicBool::new(true));
        let (accepting, told) = (listener.try_clone().unwrap(), Arc::clone(&well));
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                let (mut peer, told) = (Peer::new(stream), Arc::clone(&told));
                std::thread::spawn(move || {
                    while let Some(request) = peer.next_request() {
                        let fails = request.target() == "/health" && !told.load(Ordering::Relaxed);
                        if !peer.try_send(if fails { NOT_WELL } else { OK }) {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, listener, thread: Some(thread), well }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn set(&self, well: bool) {
        self.well.store(well, Ordering::Relaxed);
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        // Wakes the thread that accepts.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}
