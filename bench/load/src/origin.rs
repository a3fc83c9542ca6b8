//! The origin: answers prepared once, found by path, sent in one write.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::SystemTime;

use memchr::memmem;

use crate::args::Args;
use crate::calls;
use crate::content;
use crate::poll::{self, EventFlags, Events, Poll, Slots};
use crate::relay::write_some;
use crate::upload::Upload;
use crate::websocket;

const LISTENER: usize = usize::MAX;
const INPUT: usize = 16 << 10;

struct Client {
    stream: TcpStream,
    input: Box<[u8; INPUT]>,
    filled: usize,
    /// It has become a WebSocket, whose messages are sent back.
    echoes: bool,
    /// Bytes of a request body still to be thrown away.
    skip: usize,
    /// A body that is looked at before its request is answered, and the answer if it is right.
    upload: Option<(Upload, Rc<[u8]>)>,
    /// An answer that the socket has not taken whole, and how much of it is sent.
    output: Option<(Rc<[u8]>, usize)>,
}

/// What a gateway that has authenticated the request says of its user.
const USER: (Option<&[u8]>, Option<&[u8]>) = (Some(b"7"), Some(b"user"));

/// What is made once for each path.
#[derive(Default)]
struct Prepared {
    answers: HashMap<Box<[u8]>, Rc<[u8]>>,
    uploads: HashMap<Box<[u8]>, Rc<[u8]>>,
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    args.only(&["listen", "grpc", "awake"])?;
    let awake = args.has("awake");
    let listener = poll::listen(&args.get("listen")?.unwrap_or_else(|| "127.0.0.1:0".to_owned()))?;
    if args.has("grpc") {
        return calls::run(listener);
    }
    let serve = || -> io::Result<()> {
        let poll = Poll::new(awake)?;
        poll.add(&listener, LISTENER, EventFlags::IN)?;
        let mut clients: Slots<Client> = Slots::new();
        let mut prepared = Prepared::default();
        let mut events = Events::new();
        loop {
            poll.wait(None, &mut events)?;
            for (token, _) in events.iter() {
                if token == LISTENER {
                    let Ok((stream, _)) = listener.accept() else { continue };
                    poll::prepare(&stream)?;
                    let index = clients.insert(Client::new(stream));
                    if let Some(client) = clients.get_mut(index) {
                        poll.add(&client.stream, index, EventFlags::IN)?;
                    }
                } else if let Some(client) = clients.get_mut(token)
                    && !client.step(token, &poll, &mut prepared).unwrap_or(false)
                {
                    clients.remove(token);
                }
            }
        }
    };
    serve().map_err(|error| error.to_string())
}

impl Client {
    fn new(stream: TcpStream) -> Self {
        Self { stream, input: Box::new([0; INPUT]), filled: 0, echoes: false, skip: 0, upload: None, output: None }
    }

    /// Does what can be done now; false when the connection is over.
    fn step(&mut self, token: usize, poll: &Poll, prepared: &mut Prepared) -> io::Result<bool> {
        if self.output.is_some() {
            if !self.send()? {
                return Ok(true);
            }
            poll.modify(&self.stream, token, EventFlags::IN)?;
        } else {
            match self.stream.read(&mut self.input[self.filled..]) {
                // A full buffer reads nothing as well: a head that long is nobody's here.
                Ok(0) => return Ok(false),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        self.answer_all(token, poll, prepared)
    }

    /// Answers the whole requests in the buffer, until one answer does not fit into the socket.
    fn answer_all(&mut self, token: usize, poll: &Poll, prepared: &mut Prepared) -> io::Result<bool> {
        let mut start = 0;
        while self.output.is_none() {
            let skipped = self.skip.min(self.filled - start);
            self.skip -= skipped;
            start += skipped;
            if self.echoes {
                let Ok(found) = websocket::echo(&self.input[start..self.filled]) else { return Ok(false) };
                let Some((length, back)) = found else { break };
                self.output = Some((back.into(), 0));
                start += length;
                if !self.send()? {
                    poll.modify(&self.stream, token, EventFlags::OUT)?;
                }
                continue;
            }
            if let Some((upload, answer)) = &mut self.upload {
                let Some(taken) = upload.take(&self.input[start..self.filled]) else { return Ok(false) };
                start += taken;
                let Some(is_right) = upload.outcome() else { break };
                let wrong = || render("400 Bad Request", "text/plain", b"another body\n");
                self.output = Some((if is_right { Rc::clone(answer) } else { wrong() }, 0));
                self.upload = None;
                if !self.send()? {
                    poll.modify(&self.stream, token, EventFlags::OUT)?;
                }
                continue;
            }
            let Some(end) = memmem::find(&self.input[start..self.filled], b"\r\n\r\n") else { break };
            let head = &self.input[start..start + end + 4];
            if let Some(expected) = prepared.upload(head) {
                let Some(upload) = Upload::new(head, expected) else { return Ok(false) };
                self.upload = Some((upload, prepared.answer(head)));
                start += end + 4;
                continue;
            }
            let Some(length) = body_length(head) else { return Ok(false) };
            let granted = websocket::grant(head);
            self.echoes = granted.is_some();
            self.output = Some((granted.map_or_else(|| prepared.answer(head), Into::into), 0));
            self.skip = length;
            start += end + 4;
            if !self.send()? {
                poll.modify(&self.stream, token, EventFlags::OUT)?;
            }
        }
        self.input.copy_within(start..self.filled, 0);
        self.filled -= start;
        Ok(true)
    }

    /// Sends on; true once the answer is out.
    fn send(&mut self) -> io::Result<bool> {
        if let Some((bytes, sent)) = &mut self.output {
            *sent += write_some(&mut self.stream, &bytes[*sent..])?;
            if *sent < bytes.len() {
                return Ok(false);
            }
        }
        self.output = None;
        Ok(true)
    }
}

/// The length of the request's body; none for a framing that this origin doesn't read.
fn body_length(head: &[u8]) -> Option<usize> {
    if field(head, b"transfer-encoding").is_some() {
        return None;
    }
    match field(head, b"content-length") {
        Some(value) => std::str::from_utf8(value).ok()?.parse().ok(),
        None => Some(0),
    }
}

/// The value of the first header field called `name`.
pub(crate) fn field<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut lines = memchr::memchr_iter(b'\n', head).map(|newline| &head[newline + 1..]);
    let line =
        lines.find(|line| line.get(name.len()) == Some(&b':') && line[..name.len()].eq_ignore_ascii_case(name))?;
    let end = memchr::memchr(b'\n', line)?;
    Some(line[name.len() + 1..end].trim_ascii())
}

impl Prepared {
    /// What the body of this request must be, if it is looked at.
    fn upload(&mut self, head: &[u8]) -> Option<Rc<[u8]>> {
        let path = path_of(head);
        if let Some(known) = self.uploads.get(path) {
            return Some(Rc::clone(known));
        }
        let expected: Rc<[u8]> = std::str::from_utf8(path).ok().and_then(content::uploaded_to)?.into();
        self.uploads.insert(path.into(), Rc::clone(&expected));
        Some(expected)
    }

    fn answer(&mut self, head: &[u8]) -> Rc<[u8]> {
        let path = path_of(head);
        if let Some(name) = path.strip_prefix(b"/echo/") {
            return render("200 OK", "text/plain", field(head, name).unwrap_or_default());
        }
        if path == content::IDENTITY.as_bytes() && (field(head, b"x-user-id"), field(head, b"x-user-role")) != USER {
            return render("403 Forbidden", "text/plain", b"no identity\n");
        }
        if let Some(known) = self.answers.get(path) {
            return Rc::clone(known);
        }
        match std::str::from_utf8(path).ok().and_then(content::body_for) {
            Some((kind, body)) => {
                let made = render("200 OK", kind, &body);
                self.answers.insert(path.into(), Rc::clone(&made));
                made
            }
            None => render("404 Not Found", "text/plain", b"no such path\n"),
        }
    }
}

/// The path of a request.
fn path_of(head: &[u8]) -> &[u8] {
    let target = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    target.split(|byte| *byte == b'?').next().unwrap_or_default()
}

fn render(status: &str, kind: &str, body: &[u8]) -> Rc<[u8]> {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nServer: origin\r\nDate: {date}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat().into()
}
