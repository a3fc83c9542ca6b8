//! Standard error: a thread of its own writes the text from a bounded queue, so that a slow reader delays nothing else.
//! What finds the queue full is dropped and counted, and a line says so once there is room again.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::access_log::output::LogOutput;

/// Most bytes that wait to be written.
const MAX_PENDING: usize = 1 << 20;

/// The queue of the process.
static QUEUE: TextQueue = TextQueue::new(MAX_PENDING);

/// Writes whole lines to standard error. Never waits for its reader.
pub fn write_stderr(lines: &str) {
    QUEUE.push(lines.as_bytes());
}

/// Waits until everything is written, for at most `patience`. Returns false if something is left.
pub fn flush_stderr(patience: Duration) -> bool {
    QUEUE.flush(patience)
}

/// Number of lines dropped because standard error was read too slowly, or not at all.
pub(crate) fn dropped_lines() -> u64 {
    QUEUE.dropped.load(Ordering::Relaxed)
}

/// Standard error as a writer. It must be given whole lines.
pub(super) struct StandardError;

impl io::Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        QUEUE.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct TextQueue {
    capacity: usize,
    pending: Mutex<Pending>,
    filled: Condvar,
    written: Condvar,
    dropped: AtomicU64,
}

struct Pending {
    bytes: Vec<u8>,
    /// Lines in `bytes`.
    lines: u64,
    /// Lines that were dropped since the last line that says so.
    lost: u64,
    /// The thread has taken bytes that it has not written yet.
    writing: bool,
    /// The thread was started.
    started: bool,
}

/// What the thread takes at once.
struct Taken {
    bytes: Vec<u8>,
    lines: u64,
    lost: u64,
}

impl TextQueue {
    const fn new(capacity: usize) -> Self {
        let pending = Pending { bytes: Vec::new(), lines: 0, lost: 0, writing: false, started: false };
        Self {
            capacity,
            pending: Mutex::new(pending),
            filled: Condvar::new(),
            written: Condvar::new(),
            dropped: AtomicU64::new(0),
        }
    }

    fn push(&'static self, lines: &[u8]) {
        let count = count_lines(lines);
        let mut pending = self.pending.lock();
        if !pending.started {
            pending.started = thread::Builder::new().name("pylae-stderr".to_owned()).spawn(|| self.run()).is_ok();
        }
        self.add(&mut pending, lines, count);
    }

    fn add(&self, pending: &mut Pending, lines: &[u8], count: u64) {
        if pending.bytes.len() + lines.len() > self.capacity {
            pending.lost += count;
            self.dropped.fetch_add(count, Ordering::Relaxed);
            return;
        }
        pending.bytes.extend_from_slice(lines);
        pending.lines += count;
        self.filled.notify_one();
    }

    fn run(&self) {
        // Standard error is always there: nothing is opened.
        let Ok(mut output) = LogOutput::open("stderr") else { return };
        let mut bytes = Vec::new();
        loop {
            let mut taken = self.take(bytes);
            if taken.lost > 0 {
                taken.bytes.extend_from_slice(loss(taken.lost).as_bytes());
                taken.lines += 1;
            }
            let result = output.write(&taken.bytes, taken.lines, &|| false);
            self.dropped.fetch_add(result.dropped, Ordering::Relaxed);
            bytes = taken.bytes;
        }
    }

    /// Waits for text and takes it. `bytes` is a buffer to be used again.
    fn take(&self, mut bytes: Vec<u8>) -> Taken {
        bytes.clear();
        bytes.shrink_to(self.capacity / 16);
        let mut pending = self.pending.lock();
        pending.writing = false;
        if pending.bytes.is_empty() {
            self.written.notify_all();
        }
        while pending.bytes.is_empty() {
            self.filled.wait(&mut pending);
        }
        std::mem::swap(&mut pending.bytes, &mut bytes);
        pending.writing = true;
        Taken { bytes, lines: std::mem::take(&mut pending.lines), lost: std::mem::take(&mut pending.lost) }
    }

    fn flush(&self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        let mut pending = self.pending.lock();
        while pending.writing || !pending.bytes.is_empty() {
            if self.written.wait_until(&mut pending, end).timed_out() {
                return false;
            }
        }
        true
    }
}

/// The line that says how many were lost.
fn loss(lines: u64) -> String {
    format!("warning: {lines} lines for standard error were dropped here, because nobody read it in time\n")
}

fn count_lines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(queue: &TextQueue, lines: &str) {
        queue.add(&mut queue.pending.lock(), lines.as_bytes(), count_lines(lines.as_bytes()));
    }

    #[test]
    fn what_finds_the_queue_full_is_counted_and_told_behind_what_was_taken() {
        let queue = TextQueue::new(16);
        filled(&queue, "first\nsecond\n");
        filled(&queue, "third\nfourth\n");
        filled(&queue, "5\n");
        assert_eq!(queue.dropped.load(Ordering::Relaxed), 2);
        let taken = queue.take(Vec::new());
        assert_eq!((&*taken.bytes, taken.lines, taken.lost), (&b"first\nsecond\n5\n"[..], 3, 2));
        filled(&queue, "sixth\n");
        let taken = queue.take(taken.bytes);
        assert_eq!((&*taken.bytes, taken.lines, taken.lost), (&b"sixth\n"[..], 1, 0));
    }

    #[test]
    fn a_flush_does_not_wait_for_ever() {
        let queue = TextQueue::new(16);
        assert!(queue.flush(Duration::ZERO));
        filled(&queue, "nobody reads\n");
        assert!(!queue.flush(Duration::from_millis(1)));
    }
}
