//! Scripts on a real server, with a time that is given.

use std::io::{BufReader, Write as _};
use std::net::TcpStream;

use redis::{Cmd, Parser, Pipeline};

use super::{Script, ScriptCall, StoreValue};
use crate::store::fixture::Valkey;

/// Far longer than any test takes, in milliseconds.
const STAYS: &str = "1e10";

/// A variant of a script: the time is its last two arguments, keys stay, and it returns also in how many microseconds
/// its key is of no use.
pub(super) fn with_given_time(script: &Script) -> Script {
    let replace = |source: &str, what: &str, by: &str| {
        assert_eq!(source.matches(what).count(), 1, "{what} in {}", script.name);
        source.replace(what, by)
    };
    let source = replace(script.source, "redis.call('TIME')", "{ARGV[#ARGV - 1], ARGV[#ARGV]}");
    let source = replace(&source, "'PX', ", &format!("'PX', {STAYS} + "));
    let source = replace(&source, "\nreturn {", "\nreturn {max(idle_after, 0), ");
    Script::new(script.name, source.leak())
}

/// Commands and calls of scripts, in their order.
#[derive(Default)]
pub(super) struct Batch {
    pipeline: Pipeline,
    /// Which of the answers are wanted.
    wanted: Vec<bool>,
}

impl Batch {
    /// Adds a command. Its answer is not wanted, but it must not be an error.
    pub(super) fn command(&mut self, words: &[&[u8]]) {
        self.add(words, false);
    }

    /// Adds a command whose answer is wanted.
    pub(super) fn question(&mut self, words: &[&[u8]]) {
        self.add(words, true);
    }

    fn add(&mut self, words: &[&[u8]], wanted: bool) {
        let mut command = Cmd::new();
        command.arg(words);
        self.pipeline.add_command(command);
        self.wanted.push(wanted);
    }

    /// Adds a call.
    pub(super) fn call(&mut self, call: &ScriptCall) {
        call.add_to(&mut self.pipeline, false);
        self.wanted.push(true);
    }

    /// Adds a call of a variant at a time in microseconds.
    pub(super) fn call_at(&mut self, now: u64, mut call: ScriptCall) {
        call.args.extend([now / 1_000_000, now % 1_000_000].map(|part| part.cast_signed().into()));
        self.call(&call);
    }
}

/// A server that runs scripts.
pub(super) struct Scripted {
    stream: TcpStream,
    _server: Valkey,
}

impl Scripted {
    /// Starts a server that has some scripts.
    pub(super) fn start(scripts: &[&Script]) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let server = runtime.block_on(Valkey::start(&[]));
        let scripted = Self { stream: TcpStream::connect(("127.0.0.1", server.port)).unwrap(), _server: server };
        let mut batch = Batch::default();
        for script in scripts {
            batch.command(&[b"SCRIPT", b"LOAD", script.source.as_bytes()]);
        }
        scripted.run(batch);
        scripted
    }

    /// Runs a batch, and returns the answers that are wanted.
    pub(super) fn run(&self, batch: Batch) -> Vec<StoreValue> {
        let request = batch.pipeline.get_packed_pipeline();
        let mut writer = &self.stream;
        std::thread::scope(|threads| {
            threads.spawn(move || writer.write_all(&request).unwrap());
            let mut reader = BufReader::new(&self.stream);
            let mut parser = Parser::new();
            let read = batch.wanted.into_iter().map(|wanted| {
                let value = parser.parse_value(&mut reader).unwrap();
                (wanted, StoreValue::read(value).unwrap())
            });
            read.filter(|(wanted, _)| *wanted).map(|(_, value)| value).collect()
        })
    }
}
