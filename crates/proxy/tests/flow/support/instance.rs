//! Instances that a test starts and looks into.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use socket2::{Domain, SockRef, Socket, Type};

use super::message::Message;
use super::peer::{PATIENCE, Peer};

pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An instance that keeps every byte it gets and answers with exactly the bytes that it is told.
pub(crate) struct Instance {
    address: SocketAddr,
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
    /// Connections that the test serves itself.
    accepted: Receiver<Peer>,
    seen: Arc<Mutex<Seen>>,
}

/// What has come to an instance.
#[derive(Default)]
struct Seen {
    requests: Vec<Message>,
    /// Bytes of each connection.
    received: Vec<Arc<Mutex<Vec<u8>>>>,
    /// Connections that are served here.
    served: Vec<Weak<TcpStream>>,
}

/// What a complete request is answered with.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// These bytes, and the connection goes on.
    Bytes(Vec<u8>),
    /// These bytes, and then the connection is closed in order.
    Last(Vec<u8>),
    /// A reset of the connection.
    Reset,
    /// Nothing.
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
    /// The test does it all: see [`Self::accept`].
    pub(crate) fn held() -> Self {
        Self::start(Vec::new())
    }

    /// Every request gets `OK`.
    pub(crate) fn ok() -> Self {
        Self::answering([Answer::bytes(OK)])
    }

    /// Each complete request, over all connections, gets the next answer, and the last one for ever after.
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

    /// How a plan names it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `host:port`.
    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    /// The next connection to an instance that is `held`.
    pub(crate) fn accept(&self) -> Peer {
        self.accepted.recv_timeout(PATIENCE).expect("a connection")
    }

    /// Complete requests that came, over all connections; none where the test serves them.
    pub(crate) fn requests(&self) -> Vec<Message> {
        self.seen.lock().requests.clone()
    }

    /// The only request that came.
    pub(crate) fn request(&self) -> Message {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.into_iter().next().unwrap()
    }

    /// Every byte that was read, connection by connection.
    pub(crate) fn received(&self) -> Vec<Vec<u8>> {
        self.seen.lock().received.iter().map(|bytes| bytes.lock().clone()).collect()
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.seen.lock().received.len()
    }

    /// Closes all connections and refuses new ones from now on.
    pub(crate) fn stop(&mut self) {
        // Wakes the thread that accepts.
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

/// What the threads of an instance share.
struct Accepting {
    listener: TcpListener,
    /// The next one is the last.
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
                // Nobody takes it if the test is over.
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

/// An address that refuses connections, and that nobody else gets meanwhile: bound and not listened on.
pub(crate) struct Nobody {
    socket: Socket,
}

impl Nobody {
    pub(crate) fn bind() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        Self { socket }
    }

    pub(crate) fn url(&self) -> String {
        url(&self.socket)
    }
}

/// An address whose queue of connections is full: the kernel drops what comes, and nobody is told.
pub(crate) struct Deaf {
    socket: Socket,
    _fillers: Vec<Socket>,
}

impl Deaf {
    pub(crate) fn listen() -> Self {
        let Nobody { socket } = Nobody::bind();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap();
        let fillers = (0..3).map(|_| {
            let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            filler.set_nonblocking(true).unwrap();
            // In progress for ever, all but the first.
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
