//! The load generator: keep-alive connections with one request in flight on each, every answer checked.

mod answer;
mod histogram;
mod http2;
mod stream;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};
use rustix::event::Timespec;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};
use rustls::ClientConfig;

use self::answer::{Answer, Expected, Progress, Required};
use self::histogram::Histogram;
use self::stream::Stream;
use crate::args::Args;
use crate::content;
use crate::poll::{EventFlags, Events, Poll};
use crate::{upload, websocket};

const TIMER: usize = usize::MAX;
const BUFFER: usize = 256 << 10;
/// Stands for the number of the request.
const NUMBER: &str = "########";
/// How long connecting, and answers to requests already sent, may take.
const PATIENCE: Duration = Duration::from_secs(5);
const OPTIONS: &[&str] = &[
    "connect",
    "tls",
    "path",
    "method",
    "header",
    "status",
    "expect",
    "require",
    "websocket",
    "connections",
    "warmup",
    "duration",
    "requests",
    "rate",
    "gate",
    "streams",
    "tls",
    "grpc",
    "upload",
    "chunked",
    "numbers",
    "awake",
];

/// When requests are sent, and when no more are.
struct Schedule {
    duration: Duration,
    requests: Option<u64>,
    /// Time between intended sends; none means as soon as a connection is free.
    interval: Option<Duration>,
}

struct Connection {
    stream: Stream,
    answer: Answer,
    /// When the request in flight was, or should have been, sent.
    sent: Option<Instant>,
    /// Bytes of it that the socket has not taken yet.
    unsent: usize,
}

struct Load {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    /// What opens a WebSocket, if that is what is wanted.
    handshake: Option<Vec<u8>>,
    request: Vec<u8>,
    /// Where the request says its number.
    number: Option<Range<usize>>,
    numbered: u64,
    /// How many numbers there are, from 0 on; behind the last one comes the first.
    numbers: u64,
    expected: Expected,
    poll: Poll,
    connections: Vec<Connection>,
    idle: VecDeque<usize>,
    buffer: Vec<u8>,
    reconnects: u64,
}

struct Outcome {
    requests: u64,
    seconds: f64,
    histogram: Histogram,
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    args.only(OPTIONS)?;
    let seconds = |name, default| -> Result<Duration, String> {
        Duration::try_from_secs_f64(args.get(name)?.unwrap_or(default)).map_err(|error| format!("--{name}: {error}"))
    };
    let rate: Option<f64> = args.get("rate")?;
    if rate.is_some_and(|rate| !(1.0..=1e6).contains(&rate)) {
        return Err("--rate must be from 1 to 1000000".to_owned());
    }
    let measured = Schedule {
        duration: seconds("duration", 3.0)?,
        requests: args.get("requests")?,
        interval: rate.map(|rate| Duration::from_secs_f64(1.0 / rate)),
    };
    let warmup = Schedule { duration: seconds("warmup", 0.5)?, requests: None, interval: measured.interval };

    if args.has("grpc") || args.has("streams") {
        return run_http2(args, warmup, measured);
    }
    let mut load = Load::new(args)?;
    if !warmup.duration.is_zero() {
        load.window(&warmup)?;
    }
    wait_at_gate(args)?;
    let reconnects = load.reconnects;
    let outcome = load.window(&measured)?;
    print_outcome(&outcome, load.reconnects - reconnects);
    Ok(())
}

/// The same over HTTP/2.
fn run_http2(args: &Args, warmup: Schedule, measured: Schedule) -> Result<(), String> {
    let path: String = args.get("path")?.unwrap_or_else(|| "/json".to_owned());
    let source = args.get("expect")?.unwrap_or_else(|| path.clone());
    let (_, body) = content::body_for(&source).ok_or_else(|| format!("--expect: the origin has no {source:?}"))?;
    let grpc = args.has("grpc");
    let mut headers = HeaderMap::new();
    headers.insert("user-agent", HeaderValue::from_static("pylae-bench"));
    if grpc {
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("te", HeaderValue::from_static("trailers"));
    }
    for header in args.all("header") {
        let (name, value) = header.split_once(": ").ok_or_else(|| format!("--header: {header:?} is not a header"))?;
        let name: HeaderName = name.parse().map_err(|_| format!("--header: {name:?} is not a name"))?;
        headers.append(name, value.parse().map_err(|_| format!("--header: {value:?} is not a value"))?);
    }
    let method = if grpc { "POST".to_owned() } else { args.get("method")?.unwrap_or_else(|| "GET".to_owned()) };
    let load = http2::Load::new(http2::Plan {
        address: args.require("connect")?,
        path,
        method: method.parse().map_err(|_| format!("--method: {method:?} is not a method"))?,
        headers,
        expected: Expected {
            status: args.get("status")?.unwrap_or(200),
            body,
            bare: false,
            headers: args.all("require").map(Required::parse).collect(),
        },
        connections: args.get("connections")?.unwrap_or(64_usize).max(1),
        streams: args.get("streams")?.unwrap_or(1_usize).max(1),
        tls: args.get::<String>("tls")?.map(|file| stream::tls(&file, "h2")).transpose()?,
        grpc,
    })?;
    if !warmup.duration.is_zero() {
        load.window(warmup)?;
    }
    wait_at_gate(args)?;
    print_outcome(&load.window(measured)?, 0);
    Ok(())
}

fn wait_at_gate(args: &Args) -> Result<(), String> {
    if args.has("gate") {
        println!("ready");
        io::stdin().read_line(&mut String::new()).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// One line of JSON. There is no count of wrong answers: the first ends the program without a figure.
#[expect(clippy::cast_precision_loss, reason = "counts and nanoseconds far below 2^52")]
fn print_outcome(outcome: &Outcome, reconnects: u64) {
    let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1e3;
    let quantile = |per_mille| microseconds(outcome.histogram.quantile(per_mille));
    println!(
        "{{\"requests\": {}, \"errors\": 0, \"wrong\": 0, \"reconnects\": {reconnects}, \"seconds\": {:.6}, \
         \"latency_us\": {{\"p50\": {:.1}, \"p90\": {:.1}, \"p99\": {:.1}, \"p999\": {:.1}, \"max\": {:.1}}}}}",
        outcome.requests,
        outcome.seconds,
        quantile(500),
        quantile(900),
        quantile(990),
        quantile(999),
        microseconds(outcome.histogram.max()),
    );
}

impl Load {
    fn new(args: &Args) -> Result<Self, String> {
        let address: SocketAddr = args.require("connect")?;
        let path: String = args.get("path")?.unwrap_or_else(|| "/json".to_owned());
        let method: String = args.get("method")?.unwrap_or_else(|| "GET".to_owned());
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: pylae-bench\r\nAccept: */*\r\n");
        for header in args.all("header") {
            request.push_str(header);
            request.push_str("\r\n");
        }
        let size: Option<usize> = args.get("websocket")?;
        if size.is_some_and(|size| size >= 1 << 16) {
            return Err("--websocket must be below 65536".to_owned());
        }
        if size.is_some() {
            request.push_str(&websocket::fields());
        }
        let upload: Option<String> = args.get("upload")?;
        if size.is_some() && upload.is_some() {
            return Err("--upload and --websocket exclude each other".to_owned());
        }
        let source = args.get("expect")?.unwrap_or(path);
        let (_, body) = content::body_for(&source).ok_or_else(|| format!("--expect: the origin has no {source:?}"))?;
        let mut expected = Expected {
            status: args.get("status")?.unwrap_or(200),
            body,
            headers: args.all("require").map(Required::parse).collect(),
            bare: size.is_some(),
        };
        let tls = args.get::<String>("tls")?.map(|file| stream::tls(&file, "http/1.1")).transpose()?;
        let number = request.find(NUMBER).filter(|_| size.is_none()).map(|at| at..at + NUMBER.len());
        let mut request = request.into_bytes();
        match upload {
            Some(text) => {
                let body = content::upload(&text).ok_or_else(|| format!("--upload: {text:?} is not a size or json"))?;
                upload::append(&mut request, &body, args.has("chunked"));
            }
            None => request.extend_from_slice(b"\r\n"),
        }
        let handshake = size.map(|size| {
            let (sent, back) = websocket::message(size);
            expected.body = back;
            std::mem::replace(&mut request, sent)
        });
        let mut load = Self {
            address,
            tls,
            handshake,
            request,
            number,
            numbered: 0,
            numbers: args.get("numbers")?.unwrap_or(100_000_000_u64).clamp(1, 100_000_000),
            expected,
            poll: Poll::new(args.has("awake")).map_err(|error| error.to_string())?,
            connections: Vec::new(),
            idle: VecDeque::new(),
            buffer: vec![0; BUFFER],
            reconnects: 0,
        };
        for index in 0..args.get("connections")?.unwrap_or(64_usize).max(1) {
            let connection = load.connect(index).map_err(|error| format!("cannot connect to {address}: {error}"))?;
            load.connections.push(connection);
            load.idle.push_back(index);
        }
        Ok(load)
    }

    fn connect(&self, index: usize) -> io::Result<Connection> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        if let Some(handshake) = &self.handshake {
            websocket::open(&mut stream, handshake, PATIENCE).map_err(io::Error::other)?;
        }
        let stream = Stream::new(stream, self.tls.as_ref())?;
        self.poll.add(stream.socket(), index, EventFlags::IN)?;
        Ok(Connection { stream, answer: Answer::default(), sent: None, unsent: 0 })
    }

    /// Sends by the schedule, waits for the last answer.
    fn window(&mut self, schedule: &Schedule) -> Result<Outcome, String> {
        let mut histogram = Histogram::new();
        let mut events = Events::new();
        let (mut sent, mut done) = (0_u64, 0_u64);
        let timer = schedule.interval.map(|interval| self.timer(interval)).transpose().map_err(|e| e.to_string())?;
        let start = Instant::now();
        let end = start + schedule.duration;
        loop {
            let now = Instant::now();
            while let Some(&index) = self.idle.front() {
                let Some(due) = schedule.due(sent, start, now) else { break };
                self.idle.pop_front();
                self.send(index, due)?;
                sent += 1;
            }
            if sent == done && schedule.over(sent, start, now) {
                let seconds = start.elapsed().as_secs_f64();
                return Ok(Outcome { requests: done, seconds, histogram });
            }
            if schedule.requests.is_none() && now > end + PATIENCE {
                return Err(format!("{} answers are still missing {PATIENCE:?} after the end", sent - done));
            }
            self.poll.wait(Some(PATIENCE), &mut events).map_err(|error| error.to_string())?;
            if events.is_empty() {
                return Err(format!("no answer for {PATIENCE:?}, {} requests in flight", sent - done));
            }
            for (token, flags) in events.iter() {
                if token == TIMER {
                    // The count of expirations is not needed: what is due follows from the time.
                    timer.as_ref().map(|mut file: &File| file.read(&mut [0; 8]));
                } else if flags.contains(EventFlags::OUT) {
                    self.send_on(token)?;
                } else if let Some(since) = self.receive(token)? {
                    histogram.record(since.elapsed().as_nanos() as u64);
                    done += 1;
                }
            }
        }
    }

    /// A clock that ticks at every intended send; it leaves epoll when it is dropped.
    fn timer(&self, interval: Duration) -> io::Result<File> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let interval = Timespec::try_from(interval).map_err(io::Error::other)?;
        let setting = Itimerspec { it_interval: interval, it_value: interval };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &setting)?;
        self.poll.add(&timer, TIMER, EventFlags::IN)?;
        Ok(File::from(timer))
    }

    fn send(&mut self, index: usize, due: Instant) -> Result<(), String> {
        if let Some(place) = self.number.clone() {
            self.numbered += 1;
            self.request[place].copy_from_slice(format!("{:08}", self.numbered % self.numbers).as_bytes());
        }
        let connection = &mut self.connections[index];
        (connection.sent, connection.unsent) = (Some(due), self.request.len());
        self.send_on(index)
    }

    /// Sends what the socket takes of the request.
    fn send_on(&mut self, index: usize) -> Result<(), String> {
        let connection = &mut self.connections[index];
        let (before, rest) = (connection.unsent, &self.request[self.request.len() - connection.unsent..]);
        connection.unsent -= match connection.stream.write(rest) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(format!("sending: {error}")),
        };
        // Waiting for room again changes nothing.
        let waits = if connection.unsent > 0 { EventFlags::OUT } else { EventFlags::IN };
        if connection.unsent > 0 || before < self.request.len() {
            self.poll.modify(connection.stream.socket(), index, waits).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Reads and checks; when the request was sent, if that completes its answer.
    fn receive(&mut self, index: usize) -> Result<Option<Instant>, String> {
        let connection = &mut self.connections[index];
        let count = match connection.stream.read(&mut self.buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(format!("receiving: {error}")),
        };
        if count == 0 {
            if connection.sent.is_some() || !connection.answer.is_empty() {
                return Err("connection closed before the answer was complete".to_owned());
            }
            self.reconnect(index)?;
            return Ok(None);
        }
        let Some(sent) = connection.sent else { return Err("bytes that no request asked for".to_owned()) };
        match connection.answer.feed(&self.buffer[..count], &self.expected) {
            Ok(Progress::More) => return Ok(None),
            Ok(Progress::Done { close }) => {
                connection.sent = None;
                if close {
                    self.reconnect(index)?;
                }
            }
            Err(wrong) => return Err(format!("wrong answer: {wrong}")),
        }
        self.idle.push_back(index);
        Ok(Some(sent))
    }

    fn reconnect(&mut self, index: usize) -> Result<(), String> {
        self.connections[index] = self.connect(index).map_err(|error| format!("reconnecting: {error}"))?;
        self.reconnects += 1;
        Ok(())
    }
}

impl Schedule {
    /// The intended time of the next request if it is due.
    fn due(&self, sent: u64, start: Instant, now: Instant) -> Option<Instant> {
        if self.over(sent, start, now) {
            return None;
        }
        match self.interval {
            None => Some(now),
            Some(interval) => Some(start + interval.mul_f64(index_of(sent))).filter(|intended| *intended <= now),
        }
    }

    /// Whether all requests are sent. At a fixed rate those intended before the end are sent even if they are late.
    fn over(&self, sent: u64, start: Instant, now: Instant) -> bool {
        match (self.requests, self.interval) {
            (Some(requests), _) => sent >= requests,
            (None, None) => now >= start + self.duration,
            (None, Some(interval)) => interval.mul_f64(index_of(sent)) >= self.duration,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 requests")]
fn index_of(sent: u64) -> f64 {
    sent as f64
}
