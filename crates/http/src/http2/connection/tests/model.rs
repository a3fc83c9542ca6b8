//! Two connections that do anything in any order, against a model: what was read is what was sent, windows hold, and
//! whoever wants to send gets to.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::joined::{Joined, events};
use super::*;

/// What happens next. Streams are numbered as they come, modulo how many there are.
#[derive(Clone, Copy, Debug)]
enum Step {
    Ask { body: bool },
    Send { client: bool, stream: usize, bytes: usize, ends: bool },
    Read { client: bool, stream: usize, room: usize },
    Reset { client: bool, stream: usize },
    Release { client: bool, stream: usize },
    Move { bytes: usize },
    ShareOut,
}

fn step() -> impl Strategy<Value = Step> {
    let stream = 0..8_usize;
    prop_oneof![
        2 => any::<bool>().prop_map(|body| Step::Ask { body }),
        6 => (any::<bool>(), stream.clone(), 1..150_000_usize, any::<bool>())
            .prop_map(|(client, stream, bytes, ends)| Step::Send { client, stream, bytes, ends }),
        4 => (any::<bool>(), stream.clone(), 0..100_000_usize)
            .prop_map(|(client, stream, room)| Step::Read { client, stream, room }),
        1 => (any::<bool>(), stream.clone()).prop_map(|(client, stream)| Step::Reset { client, stream }),
        1 => (any::<bool>(), stream).prop_map(|(client, stream)| Step::Release { client, stream }),
        6 => (1..100_000_usize).prop_map(|bytes| Step::Move { bytes }),
        2 => Just(Step::ShareOut),
    ]
}

/// One end of a stream.
#[derive(Debug, Default)]
struct End {
    key: Option<StreamKey>,
    sent: usize,
    /// It has sent the end of its message.
    ended: bool,
    read: Vec<u8>,
    /// It has read the end of the other's message.
    finished: bool,
    released: bool,
}

/// The model: both ends of each stream, by the stream's number.
struct Model {
    both: Joined,
    order: Vec<u32>,
    clients: HashMap<u32, End>,
    servers: HashMap<u32, End>,
    /// Streams that one side has reset or released early.
    broken: Vec<u32>,
}

/// Byte `at` of what is sent on a stream.
fn byte(stream: u32, at: usize) -> u8 {
    (at as u32).wrapping_mul(31).wrapping_add(stream * 7 + (at as u32 >> 8)) as u8
}

impl Model {
    fn side(&mut self, client: bool) -> (&mut Http2Connection, &mut HashMap<u32, End>) {
        let connection = if client { &mut self.both.client } else { &mut self.both.server };
        (connection, if client { &mut self.clients } else { &mut self.servers })
    }

    fn run(&mut self, step: Step) {
        let pick = |stream: usize, order: &[u32]| order.get(stream % order.len().max(1)).copied();
        match step {
            Step::Ask { body } => {
                if self.both.client.may_open() {
                    let head = b"POST / HTTP/1.1\r\nHost: a\r\n\r\n";
                    let key = self.both.client.open(head, b"http", !body).unwrap().0;
                    self.order.push(key.id);
                    self.clients.insert(key.id, End { key: Some(key), ended: !body, ..End::default() });
                }
            }
            Step::Send { client, stream, bytes, ends } => {
                if let Some(id) = pick(stream, &self.order) {
                    self.send(client, id, bytes, ends);
                }
            }
            Step::Read { client, stream, room } => {
                if let Some(id) = pick(stream, &self.order) {
                    self.read(client, id, room);
                }
            }
            Step::Reset { client, stream } | Step::Release { client, stream } => {
                let Some(id) = pick(stream, &self.order) else { return };
                let releases = matches!(step, Step::Release { .. });
                let (connection, ends) = self.side(client);
                let Some(end) = ends.get_mut(&id) else { return };
                let Some(key) = end.key else { return };
                if releases {
                    connection.release(key);
                    end.released = true;
                } else {
                    connection.reset(key, Http2Code::CANCEL);
                }
                self.broken.push(id);
            }
            Step::Move { bytes } => {
                self.both.step(bytes);
                self.accept();
            }
            Step::ShareOut => self.share_out(),
        }
        self.check();
    }

    fn share_out(&mut self) {
        self.both.client.share_out();
        self.both.server.share_out();
        events(&mut self.both.client);
        self.accept();
    }

    fn accept(&mut self) {
        for event in events(&mut self.both.server) {
            if let Http2Event::Opened(key) = event {
                assert_eq!(self.both.server.refusal(key), None);
                let answer = b"HTTP/1.1 200 OK\r\n\r\n";
                let sent = self.both.server.respond(key, answer, false, false);
                // The client may have reset it already.
                assert!(sent == StreamSent::Bytes(answer.len()) || self.broken.contains(&key.id), "{sent:?}");
                self.servers.insert(key.id, End { key: Some(key), ..End::default() });
            }
        }
    }

    fn send(&mut self, client: bool, id: u32, bytes: usize, ends: bool) -> bool {
        let broken = self.broken.contains(&id);
        let (connection, all) = self.side(client);
        let Some(end) = all.get_mut(&id) else { return false };
        let Some(key) = end.key.filter(|_| !end.ended && !end.released) else { return false };
        let body: Vec<u8> = (end.sent..end.sent + bytes).map(|at| byte(id, at)).collect();
        match connection.send_data(key, &body, ends) {
            StreamSent::Bytes(n) => {
                end.sent += n;
                end.ended = ends && n == bytes;
                true
            }
            StreamSent::Blocked | StreamSent::Queued => false,
            other => {
                assert!(broken, "{other:?}");
                false
            }
        }
    }

    fn read(&mut self, client: bool, id: u32, room: usize) {
        let (connection, all) = self.side(client);
        let Some(end) = all.get_mut(&id) else { return };
        let Some(key) = end.key.filter(|_| !end.released) else { return };
        let before = end.read.len();
        match connection.read(key, &mut end.read, room) {
            Received::Bytes(n) => assert_eq!(end.read.len(), before + n),
            Received::End => end.finished = true,
            Received::Nothing => {}
            Received::Reset(_) => assert!(self.broken.contains(&id)),
        }
    }

    /// What was read is the beginning of what was sent, behind a head.
    fn check(&self) {
        for (ends, others) in [(&self.clients, &self.servers), (&self.servers, &self.clients)] {
            for (id, end) in ends {
                let head = end.read.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
                let body = head.map_or(&[][..], |head| &end.read[head..]);
                assert!(body.iter().enumerate().all(|(at, found)| *found == byte(*id, at)), "stream {id}");
                let sent = others.get(id).map_or(0, |other| other.sent);
                assert!(body.len() <= sent);
                assert!(!end.finished || body.len() == sent, "stream {id} has ended too early");
            }
        }
        for connection in [&self.both.client, &self.both.server] {
            assert!(connection.output().len() < MAX_OUTPUT + 40_000, "{}", connection.output().len());
            let streams: Vec<_> = connection.streams.keys().filter_map(|key| connection.streams.get(key)).collect();
            let unread: usize = streams.iter().map(|stream| stream.held.len() - stream.read).sum();
            assert!(unread <= 200_000 + 100 * 100, "{unread}");
            // What was read may stay while it is less than what was not.
            assert!(streams.iter().all(|stream| stream.read <= (16 * 1024).max(stream.held.len() / 2)), "{streams:?}");
        }
    }

    /// Lets everything that is under way come to its end.
    fn finish(&mut self) {
        let whole: Vec<u32> = self.order.iter().copied().filter(|id| !self.broken.contains(id)).collect();
        for turn in 0.. {
            self.both.step(usize::MAX);
            self.share_out();
            for &id in &self.order.clone() {
                for client in [true, false] {
                    self.read(client, id, 50_000);
                    self.send(client, id, 10_000, true);
                }
            }
            let is_over = |end: &End| end.ended && end.finished;
            let done =
                |id: &u32| self.clients.get(id).is_some_and(is_over) && self.servers.get(id).is_some_and(is_over);
            if whole.iter().all(done) {
                break;
            }
            assert!(turn < 2000, "{:?} {:?}", self.clients, self.servers);
        }
        self.check();
        for ends in [true, false] {
            let (connection, ends) = self.side(ends);
            for end in ends.values().filter(|end| !end.released) {
                connection.release(end.key.unwrap());
            }
        }
        self.both.settle(usize::MAX);
        for connection in [&mut self.both.client, &mut self.both.server] {
            assert_eq!((connection.open_streams(), connection.streams.in_use()), (0, 0));
            connection.rest();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn everything_that_is_sent_arrives(steps in vec(step(), 1..120)) {
        let mut model = Model {
            both: Joined::new(), order: Vec::new(), clients: HashMap::new(), servers: HashMap::new(), broken: Vec::new(),
        };
        for step in steps {
            model.run(step);
        }
        model.finish();
    }

    #[test]
    fn no_bytes_of_a_peer_do_harm(bytes in vec(any::<u8>(), 0..2000), cut in 1..500_usize, frames in vec(any::<(u8, u8, u8, u8)>(), 0..100)) {
        let mut connection = Http2Connection::server(super::rules::LIMITS);
        connection.receive(PREFACE, |_| true);
        let mut input = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
        for (kind, flags, stream, length) in frames {
            input.extend_from_slice(&[0, 0, length % 16, kind % 11, flags, 0, 0, 0, stream % 8]);
            input.extend(bytes.iter().cycle().take(usize::from(length % 16)));
        }
        input.extend_from_slice(&bytes);
        for piece in input.chunks(cut) {
            connection.receive(piece, |_| true);
            while let Some(event) = connection.next_event() {
                if let Http2Event::Opened(key) = event {
                    let mut text = Vec::new();
                    connection.read(key, &mut text, 100);
                    connection.respond(key, b"HTTP/1.1 200 OK\r\n\r\n", false, false);
                    connection.send_data(key, &[0; 1000], true);
                    connection.release(key);
                }
            }
            connection.share_out();
        }
    }
}
