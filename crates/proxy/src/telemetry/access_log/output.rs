//! The output of an access log: standard output, standard error, a file or a pipe.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// How often an idle writer checks whether it is still needed.
pub(super) const IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a stop waits for the last lines to be written.
pub(crate) const FINAL_TIMEOUT: Duration = Duration::from_millis(500);

/// Mode of log files, which are not world-readable because they contain personal data.
const MODE: u32 = 0o640;

/// An output without buffering, so that the rest of a line is known after a short write.
pub(in crate::telemetry) struct LogOutput {
    pub(super) kind: OutputKind,
    /// The rest of a line that was partly written. It is written first, so that lines are never interleaved.
    pub(super) partial: Vec<u8>,
}

pub(super) enum OutputKind {
    Stdout,
    Stderr,
    /// A file or pipe. There is no `file` while a pipe has no reader, because opening it would block.
    File {
        path: String,
        file: Option<File>,
    },
}

/// How many lines were written and dropped.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::telemetry) struct WriteResult {
    pub(in crate::telemetry) written: u64,
    pub(in crate::telemetry) dropped: u64,
}

impl LogOutput {
    pub(in crate::telemetry) fn open(output: &str) -> io::Result<Self> {
        let kind = match output {
            "stdout" => OutputKind::Stdout,
            "stderr" => OutputKind::Stderr,
            path => OutputKind::File { path: path.to_owned(), file: append(path)? },
        };
        Ok(Self { kind, partial: Vec::new() })
    }

    /// Opens the file again. Returns how many lines are lost: one if it was written in part and the file is another.
    pub(super) fn reopen(&mut self) -> io::Result<u64> {
        let before = self.kind.identity();
        let OutputKind::File { path, file } = &mut self.kind else { return Ok(0) };
        *file = append(path)?;
        if self.partial.is_empty() || self.kind.identity() == before {
            return Ok(0);
        }
        self.partial.clear();
        Ok(1)
    }

    /// Writes lines as far as the output accepts them. Waits for a full output until `is_closing`.
    pub(in crate::telemetry) fn write(
        &mut self,
        lines: &[u8],
        count: u64,
        is_closing: &dyn Fn() -> bool,
    ) -> WriteResult {
        let mut result = WriteResult::default();
        let reopened = self.kind.reopen_if_rotated();
        if reopened != Some(false) && !self.partial.is_empty() {
            // The file with the start of the line is no longer open.
            self.partial.clear();
            result.dropped += 1;
        }
        if reopened.is_none() {
            result.dropped += count;
            return result;
        }
        let mut rest = std::mem::take(&mut self.partial);
        if !rest.is_empty() {
            rest.drain(..self.kind.write(&rest, is_closing));
            if !rest.is_empty() {
                self.partial = rest;
                result.dropped += count;
                return result;
            }
            result.written += 1;
        }
        let (done, left) = lines.split_at(self.kind.write(lines, is_closing));
        let whole = memchr::memchr_iter(b'\n', done).count() as u64;
        if done.last().is_some_and(|byte| *byte != b'\n') {
            let end = memchr::memchr(b'\n', left).map_or(left.len(), |at| at + 1);
            self.partial.extend_from_slice(&left[..end]);
        }
        result.written += whole;
        result.dropped += count - whole - u64::from(!self.partial.is_empty());
        result
    }
}

impl OutputKind {
    /// Reopens the file if its path now names another one, as after log rotation. Returns true if it did, or None if
    /// there is nothing to write to.
    fn reopen_if_rotated(&mut self) -> Option<bool> {
        let open = self.identity();
        let Self::File { path, file } = self else { return Some(false) };
        let named = std::fs::metadata(&*path).ok().map(|named| (named.dev(), named.ino()));
        if open.is_some() && named == open {
            return Some(false);
        }
        *file = append(path).ok()?;
        file.is_some().then_some(true)
    }

    /// Device and number of the open file.
    fn identity(&self) -> Option<(u64, u64)> {
        let Self::File { file: Some(file), .. } = self else { return None };
        file.metadata().ok().map(|open| (open.dev(), open.ino()))
    }

    /// Writes as much of `bytes` as possible. Returns the number of bytes written.
    fn write(&self, bytes: &[u8], is_closing: &dyn Fn() -> bool) -> usize {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let output = match self {
            Self::Stdout => stdout.as_fd(),
            Self::Stderr => stderr.as_fd(),
            Self::File { file: Some(file), .. } => file.as_fd(),
            Self::File { file: None, .. } => return 0,
        };
        let mut written = 0;
        while written < bytes.len() {
            match rustix::io::write(output, &bytes[written..]) {
                Ok(n) if n > 0 => written += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if wait_writable(output, is_closing) => {}
                _ => break,
            }
        }
        written
    }
}

/// Waits until a non-blocking pipe or terminal accepts more. Returns false once the output is closing.
fn wait_writable(output: BorrowedFd<'_>, is_closing: &dyn Fn() -> bool) -> bool {
    loop {
        let last = is_closing();
        let timeout = if last { FINAL_TIMEOUT } else { IDLE_INTERVAL };
        let timeout = Timespec::try_from(timeout).ok();
        match poll(&mut [PollFd::new(&output, PollFlags::OUT)], timeout.as_ref()) {
            Ok(0) if !last => {}
            Ok(0) => return false,
            Ok(_) => return true,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Opens a file for appending. Returns None for a pipe without a reader, instead of waiting for one.
fn append(path: &str) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(MODE).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    match options.open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) && is_pipe(path) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_pipe(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|named| named.file_type().is_fifo())
}
