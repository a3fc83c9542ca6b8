//! The floor: bytes copied between two sockets and not looked at, which is what the kernel alone costs a proxy.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::args::Args;
use crate::poll::{self, EventFlags, Events, Poll, Slots};

const LISTENER: usize = usize::MAX;
const BUFFER: usize = 64 << 10;

struct Side {
    stream: TcpStream,
    /// Bytes for this side that its socket did not take; the other side is not read until they are gone.
    pending: Vec<u8>,
}

/// Client and upstream; the token of a side is twice the pair's number plus its place here.
type Pair = [Side; 2];

pub(crate) fn run(args: &Args) -> Result<(), String> {
    args.only(&["listen", "upstream"])?;
    let upstream: String = args.require("upstream")?;
    let listener = poll::listen(&args.get("listen")?.unwrap_or_else(|| "127.0.0.1:0".to_owned()))?;
    let serve = || -> io::Result<()> {
        let poll = Poll::new(false)?;
        poll.add(&listener, LISTENER, EventFlags::IN)?;
        let mut pairs: Slots<Pair> = Slots::new();
        let mut events = Events::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            poll.wait(None, &mut events)?;
            for (token, flags) in events.iter() {
                if token == LISTENER {
                    if let Err(error) = accept(&listener, &upstream, &poll, &mut pairs) {
                        eprintln!("pylae-bench-load: relay: {error}");
                    }
                } else if let Some(pair) = pairs.get_mut(token / 2)
                    && !step(pair, token, flags, &poll, &mut buffer)
                {
                    pairs.remove(token / 2);
                }
            }
        }
    };
    serve().map_err(|error| error.to_string())
}

/// Connecting blocks: on loopback, and before any measured window, that is simpler than waiting.
fn accept(listener: &TcpListener, upstream: &str, poll: &Poll, pairs: &mut Slots<Pair>) -> io::Result<()> {
    let (client, _) = listener.accept()?;
    let index = pairs.insert([Side::new(client)?, Side::new(TcpStream::connect(upstream)?)?]);
    if let Some(pair) = pairs.get_mut(index) {
        poll.add(&pair[0].stream, 2 * index, EventFlags::IN)?;
        poll.add(&pair[1].stream, 2 * index + 1, EventFlags::IN)?;
    }
    Ok(())
}

impl Side {
    fn new(stream: TcpStream) -> io::Result<Self> {
        poll::prepare(&stream)?;
        Ok(Self { stream, pending: Vec::new() })
    }
}

/// Copies what is ready; false when the pair is over.
fn step(pair: &mut Pair, token: usize, flags: EventFlags, poll: &Poll, buffer: &mut [u8]) -> bool {
    let [client, upstream] = pair;
    let (this, other) = if token.is_multiple_of(2) { (client, upstream) } else { (upstream, client) };
    let moved = if !other.pending.is_empty() {
        // This side waits for the other one, so only its end can have been reported.
        Ok(false)
    } else if this.pending.is_empty() {
        copy(this, other, token, poll, buffer)
    } else if flags.contains(EventFlags::OUT) {
        flush(this, other, token, poll)
    } else {
        Ok(!flags.intersects(EventFlags::HUP | EventFlags::ERR))
    };
    moved.unwrap_or(false)
}

fn copy(this: &mut Side, other: &mut Side, token: usize, poll: &Poll, buffer: &mut [u8]) -> io::Result<bool> {
    let count = match this.stream.read(buffer) {
        Ok(0) => return Ok(false),
        Ok(count) => count,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
        Err(error) => return Err(error),
    };
    let sent = write_some(&mut other.stream, &buffer[..count])?;
    if sent < count {
        other.pending.extend_from_slice(&buffer[sent..count]);
        poll.modify(&this.stream, token, EventFlags::empty())?;
        poll.modify(&other.stream, token ^ 1, EventFlags::OUT)?;
    }
    Ok(true)
}

fn flush(this: &mut Side, other: &mut Side, token: usize, poll: &Poll) -> io::Result<bool> {
    let sent = write_some(&mut this.stream, &this.pending)?;
    this.pending.drain(..sent);
    if this.pending.is_empty() {
        poll.modify(&this.stream, token, EventFlags::IN)?;
        poll.modify(&other.stream, token ^ 1, EventFlags::IN)?;
    }
    Ok(true)
}

/// Writes once; zero if the socket is full.
pub(crate) fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}
