//! The connection of this crate and that of the `h2` crate, each as client and as server of the other: messages of any
//! shape arrive as they were sent.
#![allow(clippy::unwrap_used, reason = "what is not as expected fails the test")]

use std::collections::HashMap;

use bytes::Bytes;
use h2::{client, server};
use http::{HeaderMap, Request, Response};
use proptest::collection::vec;
use proptest::prelude::*;
use pylae_http::http2::connection::{Http2Connection, Http2Event, Http2Grants, Received, StreamKey, StreamSent};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinSet;

const LIMITS: Http2Grants =
    Http2Grants { max_streams: 100, stream_window: 70_000, connection_window: 90_000, max_head: 100_000 };

/// What both sides send. The path is the place in the list.
#[derive(Clone, Debug)]
struct Message {
    fields: Vec<(String, String)>,
    request: Vec<u8>,
    response: Vec<u8>,
    trailers: bool,
}

fn message() -> impl Strategy<Value = Message> {
    let field = ("x-[a-z0-9_-]{1,20}", "([!-~]([ -~]{0,60}[!-~])?)?");
    (vec(field, 0..12), 0..200_000_usize, 0..200_000_usize, any::<bool>(), any::<u8>()).prop_map(
        |(fields, request, response, trailers, seed)| Message {
            fields,
            request: (0..request).map(|at| (at % 251) as u8 ^ seed).collect(),
            response: (0..response).map(|at| (at % 241) as u8 ^ seed).collect(),
            trailers,
        },
    )
}

/// The fields of a head or of trailers, in order of their names.
fn sorted(map: &HeaderMap) -> Vec<(String, String)> {
    let mut fields: Vec<_> = map
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .filter(|(name, _)| name.starts_with("x-"))
        .collect();
    fields.sort();
    fields
}

fn sorted_lines(text: &str) -> Vec<(String, String)> {
    let mut fields: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(name, _)| name.starts_with("x-"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    fields.sort();
    fields
}

fn expected(message: &Message) -> Vec<(String, String)> {
    let mut fields = message.fields.clone();
    fields.sort();
    fields
}

fn text(first: &str, message: &Message) -> Vec<u8> {
    let mut text = format!("{first}\r\nHost: shop.test\r\n");
    for (name, value) in &message.fields {
        text.extend([name, ": ", value, "\r\n"]);
    }
    text.push_str("\r\n");
    text.into_bytes()
}

fn map(fields: &[(String, String)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
    }
    map
}

/// A stream of our side.
#[derive(Default)]
struct Ours {
    place: usize,
    read: Vec<u8>,
    trailers: Vec<u8>,
    ended: bool,
    sent: usize,
    head_sent: bool,
    done: bool,
}

impl Ours {
    /// Reads what there is. Returns true at the end.
    fn read(&mut self, connection: &mut Http2Connection, key: StreamKey) -> bool {
        while !self.ended {
            match connection.read(key, &mut self.read, 10_000) {
                Received::Bytes(_) => {}
                Received::Nothing => return false,
                Received::End => {
                    connection.take_trailers(key, &mut self.trailers);
                    self.ended = true;
                }
                Received::Reset(reset) => panic!("{reset:?}"),
            }
        }
        true
    }

    /// Sends what may be sent of a body. Returns true once all of it is.
    fn send(&mut self, connection: &mut Http2Connection, key: StreamKey, body: &[u8], trailers: bool) -> bool {
        while !self.done {
            if self.sent == body.len() {
                self.done = true;
                let ended = if trailers {
                    connection.send_trailers(key, b"X-Sum: 7\r\n")
                } else {
                    connection.send_data(key, &[], true) == StreamSent::Bytes(0)
                };
                assert!(ended);
                return true;
            }
            match connection.send_data(key, &body[self.sent..], false) {
                StreamSent::Bytes(n) => self.sent += n,
                StreamSent::Blocked | StreamSent::Queued => return false,
                other => panic!("{other:?}"),
            }
        }
        true
    }

    fn parts(&self) -> (&str, &[u8]) {
        let end = self.read.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        (std::str::from_utf8(&self.read[..end]).unwrap(), &self.read[end..])
    }
}

/// Moves bytes between our connection and the other side until `turn` says that it is over, or the other side ends.
async fn drive(
    mut connection: Http2Connection,
    stream: DuplexStream,
    mut turn: impl FnMut(&mut Http2Connection) -> bool,
) {
    let (mut from, mut to) = tokio::io::split(stream);
    let mut buffer = vec![0; 10_000];
    loop {
        connection.share_out();
        let over = turn(&mut connection);
        assert_eq!(connection.failure(), None);
        if over && connection.output().is_empty() {
            return;
        }
        tokio::select! {
            read = from.read(&mut buffer), if connection.may_receive() => match read {
                Ok(n) if n > 0 => connection.receive(&buffer[..n], |_| true),
                _ => return,
            },
            written = to.write(connection.output()), if !connection.output().is_empty() => {
                let Ok(n) = written else { return };
                connection.wrote(n);
            }
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Our server answers each request of theirs.
async fn serve_theirs(messages: Vec<Message>) {
    let (near, far) = tokio::io::duplex(30_000);
    let (requests, connection) = client::handshake(far).await.unwrap();
    let mut clients = JoinSet::new();
    for (place, message) in messages.iter().cloned().enumerate() {
        clients.spawn(ask(requests.clone(), place, message));
    }
    drop(requests);
    let theirs = tokio::spawn(connection);
    let mut streams: HashMap<usize, (StreamKey, Ours)> = HashMap::new();
    let served = drive(Http2Connection::server(LIMITS), near, |connection| {
        while let Some(event) = connection.next_event() {
            if let Http2Event::Opened(key) = event {
                assert_eq!(connection.refusal(key), None);
                streams.insert(key.slot(), (key, Ours::default()));
            }
        }
        streams.retain(|_, (key, ours)| {
            if !ours.read(connection, *key) {
                return true;
            }
            let (head, body) = ours.parts();
            let place: usize = head[6..].split(' ').next().unwrap().parse().unwrap();
            let message = &messages[place];
            if !ours.head_sent {
                assert_eq!((sorted_lines(head), body), (expected(message), &message.request[..]));
                assert_eq!(ours.trailers.is_empty(), !message.trailers);
                let answer = text("HTTP/1.1 201 Created", message);
                match connection.respond(*key, &answer, false, false) {
                    StreamSent::Bytes(_) => ours.head_sent = true,
                    StreamSent::Blocked | StreamSent::Queued => return true,
                    other => panic!("{other:?}"),
                }
            }
            let done = ours.send(connection, *key, &message.response, message.trailers);
            if done {
                connection.release(*key);
            }
            !done
        });
        false
    });
    let asked = async {
        while let Some(asked) = clients.join_next().await {
            asked.unwrap();
        }
    };
    tokio::join!(served, asked);
    theirs.await.unwrap().unwrap();
}

async fn ask(requests: client::SendRequest<Bytes>, place: usize, message: Message) {
    let mut request = Request::post(format!("http://shop.test/{place}")).body(()).unwrap();
    *request.headers_mut() = map(&message.fields);
    let (response, mut stream) = requests.ready().await.unwrap().send_request(request, false).unwrap();
    stream.send_data(Bytes::from(message.request.clone()), !message.trailers).unwrap();
    if message.trailers {
        stream.send_trailers(map(&[("x-sum".to_owned(), "7".to_owned())])).unwrap();
    }
    let (head, mut body) = response.await.unwrap().into_parts();
    assert_eq!((head.status.as_u16(), sorted(&head.headers)), (201, expected(&message)));
    assert_eq!(collect(&mut body).await, message.response);
    assert_eq!(body.trailers().await.unwrap().is_some(), message.trailers);
}

async fn collect(body: &mut h2::RecvStream) -> Vec<u8> {
    let mut got = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        got.extend_from_slice(&piece);
        body.flow_control().release_capacity(piece.len()).unwrap();
    }
    got
}

/// Their server answers each request of ours.
async fn ask_theirs(messages: Vec<Message>) {
    let (near, far) = tokio::io::duplex(30_000);
    let known = messages.clone();
    let theirs = tokio::spawn(async move {
        let mut connection = server::handshake(far).await.unwrap();
        while let Some(Ok((request, respond))) = connection.accept().await {
            tokio::spawn(answer(request, respond, known.clone()));
        }
    });
    let (mut streams, mut next, mut done) = (HashMap::<usize, (StreamKey, Ours)>::new(), 0, 0);
    drive(Http2Connection::client(LIMITS), near, |connection| {
        while next < messages.len() && connection.may_open() {
            let head = text(&format!("POST /{next} HTTP/1.1"), &messages[next]);
            let key = connection.open(&head, b"http", false).unwrap().0;
            streams.insert(key.slot(), (key, Ours { place: next, ..Ours::default() }));
            next += 1;
        }
        while connection.next_event().is_some() {}
        streams.retain(|_, (key, ours)| {
            let message = &messages[ours.place];
            let sent = ours.send(connection, *key, &message.request, message.trailers);
            if !ours.read(connection, *key) || !sent {
                return true;
            }
            let (head, body) = ours.parts();
            assert!(head.starts_with("HTTP/1.1 201 \r\n"), "{head}");
            assert_eq!((sorted_lines(head), body), (expected(message), &message.response[..]));
            assert_eq!(ours.trailers.is_empty(), !message.trailers);
            connection.release(*key);
            done += 1;
            false
        });
        if done == messages.len() {
            connection.shut_down();
        }
        done == messages.len()
    })
    .await;
    assert_eq!(done, messages.len());
    theirs.await.unwrap();
}

async fn answer(request: Request<h2::RecvStream>, mut respond: server::SendResponse<Bytes>, known: Vec<Message>) {
    let (head, mut body) = request.into_parts();
    let message = &known[head.uri.path()[1..].parse::<usize>().unwrap()];
    assert_eq!(head.uri.authority().unwrap(), "shop.test");
    assert_eq!(sorted(&head.headers), expected(message));
    assert_eq!(collect(&mut body).await, message.request);
    assert_eq!(body.trailers().await.unwrap().is_some(), message.trailers);
    let mut response = Response::builder().status(201).body(()).unwrap();
    *response.headers_mut() = map(&message.fields);
    let mut stream = respond.send_response(response, false).unwrap();
    stream.send_data(Bytes::from(message.response.clone()), !message.trailers).unwrap();
    if message.trailers {
        stream.send_trailers(map(&[("x-sum".to_owned(), "7".to_owned())])).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn requests_of_the_h2_crate_are_answered(messages in vec(message(), 1..12)) {
        block_on(serve_theirs(messages));
    }

    #[test]
    fn answers_of_the_h2_crate_are_understood(messages in vec(message(), 1..12)) {
        block_on(ask_theirs(messages));
    }
}
