//! Instances that a test starts and inspects.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use socket2::{Domain, SockRef, Socket, Type};

use super::message::Message;
use super::peer::{PATIENCE, Peer};

pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An instance that records every byte and responds with exactly the given bytes.
pub(crate) struct Instance {
    address: SocketAddr,
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
    /// Connections for the test to serve itself.
    accepted: Receiver<Peer>,
    seen: Arc<Mutex<Seen>>,
}

/// What an instance has received.
#[derive(Default)]
struct Seen {
    requests: Vec<Message>,
    /// The bytes of each connection.
    received: Vec<Arc<Mutex<Vec<u8>>>>,
    /// Open connections that the instance serves.
    served: Vec<Weak<TcpStream>>,
}

/// The reaction to a complete request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Send these bytes and keep the connection.
    Bytes(Vec<u8>),
    /// Send these bytes and close the connection.
    Last(Vec<u8>),
    /// Reset the connection.
    Reset,
    /// Do nothing.
    Silence,
}

impl Answer {
    pub(crate) fn bytes(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bytes(bytes.as_ref().to_vec())
    }

    pub(crate) fn last(bytes: impl AsRef<[u8]>) -> Self {
        Self::Last(bytes.as_ref().to_vec())
    }
}

impl Instance {
    /// An instance whose connections the test serves: see [`Self::accept`].
    pub(crate) fn manual() -> Self {
        Self::start(Vec::new())
    }

    /// An instance that answers every request with `OK`.
    pub(crate) fn ok() -> Self {
        Self::answering([Answer::bytes(OK)])
    }

    /// An instance that gives each request the next of `answers`, over all connections, and repeats the last.
    pub(crate) fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers: Vec<Answer> = answers.into_iter().collect();
        assert!(!answers.is_empty(), "an instance without answers is `held`");
        Self::start(answers)
    }

    fn start(mut answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Seen>>::default();
        let (sender, accepted) = channel();
        answers.reverse();
        let accepting = Accepting {
            listener: listener.try_clone().unwrap(),
            answers: Arc::new(Mutex::new(answers)),
            sender,
            seen: Arc::clone(&seen),
        };
        let thread = Some(std::thread::spawn(move || accepting.run()));
        Self { address, listener, thread, accepted, seen }
    }

    /// The URL for a plan.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `host:port`.
    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    /// Accepts the next connection of a `manual` instance.
    pub(crate) fn accept(&self) -> Peer {
        self.accepted.recv_timeout(PATIENCE).expect("a connection")
    }

    /// Complete requests of all connections. Empty for a `manual` instance.
    pub(crate) fn requests(&self) -> Vec<Message> {
        self.seen.lock().requests.clone()
    }

    /// The only request received.
    pub(crate) fn request(&self) -> Message {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.into_iter().next().unwrap()
    }

    /// Every byte received, by connection.
    pub(crate) fn received(&self) -> Vec<Vec<u8>> {
        self.seen.lock().received.iter().map(|bytes| bytes.lock().clone()).collect()
    }

    /// Number of connections accepted.
    pub(crate) fn connections(&self) -> usize {
        self.seen.lock().received.len()
    }

    /// Closes all connections and refuses new ones from now on.
    pub(crate) fn stop(&mut self) {
        // Wake the accepting thread.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        for stream in self.seen.lock().served.iter().filter_map(Weak::upgrade) {
            // The other side may have closed it already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.stop();
    }
}

/// State shared by the threads of an instance.
struct Accepting {
    listener: TcpListener,
    /// Stop at the next connection.
    answers: Arc<Mutex<Vec<Answer>>>,
    sender: Sender<Peer>,
    seen: Arc<Mutex<Seen>>,
}

impl Accepting {
    fn run(&self) {
        let held = self.answers.lock().is_empty();
        while let Ok((stream, _)) = self.listener.accept() {
            let peer = Peer::new(stream);
            self.seen.lock().received.push(peer.received());
            if held {
                // Fails if the test is over.
                let _ = self.sender.send(peer);
                continue;
            }
            self.seen.lock().served.push(peer.handle());
            let (answers, shared) = (Arc::clone(&self.answers), Arc::clone(&self.seen));
            std::thread::spawn(move || serve(peer, &answers, &shared));
        }
    }
}

fn serve(mut peer: Peer, answers: &Mutex<Vec<Answer>>, seen: &Mutex<Seen>) {
    while let Some(request) = peer.next_request() {
        let answer = {
            let (mut answers, mut seen) = (answers.lock(), seen.lock());
            seen.requests.push(request);
            if answers.len() > 1 { answers.pop() } else { answers.last().cloned() }
        };
        match answer {
            Some(Answer::Bytes(bytes)) if peer.try_send(&bytes) => {}
            Some(Answer::Last(bytes)) => {
                peer.try_send(&bytes);
                return;
            }
            Some(Answer::Reset) => return peer.reset(),
            Some(Answer::Silence) => {}
            _ => return,
        }
    }
}

/// An address that refuses connections. It is bound but not listening, so that it stays reserved.
pub(crate) struct RefusingAddress {
    socket: Socket,
}

impl RefusingAddress {
    pub(crate) fn bind() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        Self { socket }
    }

    pub(crate) fn url(&self) -> String {
        url(&self.socket)
    }
}

/// An address whose accept queue is full: the kernel drops connection attempts silently.
pub(crate) struct UnresponsiveAddress {
    socket: Socket,
    _fillers: Vec<Socket>,
}

impl UnresponsiveAddress {
    pub(crate) fn listen() -> Self {
        let RefusingAddress { socket } = RefusingAddress::bind();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap();
        let fillers = (0..3).map(|_| {
            let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            filler.set_nonblocking(true).unwrap();
            // All but the first stay in progress forever.
            let _ = filler.connect(&address);
            filler
        });
        Self { _fillers: fillers.collect(), socket }
    }

    pub(crate) fn url(&self) -> String {
        url(&self.socket)
    }
}

fn url(socket: &Socket) -> String {
    format!("http://{}", socket.local_addr().unwrap().as_socket().unwrap())
}
