//! The hook that the process calls for each panic.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::fmt::Write;
use std::os::fd::AsFd;
use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, Once, Weak};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::task::{Id, try_id};

use super::count::Duty;
use crate::io::clock;
use crate::telemetry::log::Log;

/// Most bytes of a panic's message in a record.
const MAX_MESSAGE: usize = 512;
/// Most bytes of a backtrace, which a record has if `RUST_BACKTRACE` asks for it.
const MAX_BACKTRACE: usize = 16 * 1024;

/// What the current thread is for.
struct Here {
    /// The log of its engine. Without one its panics go to all engines of the process.
    log: Option<Arc<Log>>,
    duty: Duty,
    /// Tasks with a duty of their own.
    tasks: Vec<(Id, Duty)>,
}

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

/// The logs of all engines of the process.
static LOGS: Mutex<Vec<Weak<Log>>> = Mutex::new(Vec::new());

/// Says what the current thread is for, until it ends.
pub(crate) fn enter(log: Option<&Arc<Log>>, duty: Duty) {
    HERE.set(Some(Here { log: log.cloned(), duty, tasks: Vec::new() }));
}

/// Gives a task of the current thread a duty of its own.
pub(super) fn name_task(task: Id, duty: Duty) {
    HERE.with_borrow_mut(|here| here.iter_mut().for_each(|here| here.tasks.push((task, duty))));
}

/// The task has ended.
pub(super) fn forget_task(task: Id) {
    HERE.with_borrow_mut(|here| here.iter_mut().for_each(|here| here.tasks.retain(|(known, _)| *known != task)));
}

/// Has panics recorded in `log`: those of its engine's threads, and those of threads of no engine.
pub(crate) fn install(log: &Arc<Log>) {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let own = record(info);
            // The usual hook writes to standard error, and whoever reads that may have stopped. No thread of an engine
            // waits for it: the record in the log says the same.
            if !own && takes_lines(&std::io::stderr()) {
                previous(info);
            }
        }));
    });
    let mut logs = LOGS.lock();
    logs.retain(|known| known.strong_count() > 0);
    logs.push(Arc::downgrade(log));
}

/// Records a panic of the current thread. Returns true if the thread is an engine's.
fn record(info: &PanicHookInfo<'_>) -> bool {
    // Fails while the thread's locals are dropped.
    let found = HERE.try_with(|here| {
        let here = here.try_borrow().ok()?;
        here.as_ref().map(|here| (here.log.clone(), here.duty()))
    });
    let (log, duty) = found.ok().flatten().unwrap_or((None, Duty::Other));
    match log {
        Some(log) => report(&log, duty, info),
        None => LOGS.lock().iter().filter_map(Weak::upgrade).for_each(|log| report(&log, duty, info)),
    }
    duty != Duty::Other
}

impl Here {
    fn duty(&self) -> Duty {
        let Some(task) = try_id() else { return self.duty };
        let own = self.tasks.iter().find(|(known, _)| *known == task);
        own.map_or(self.duty.of_tasks(), |(_, duty)| *duty)
    }
}

fn report(log: &Log, duty: Duty, info: &PanicHookInfo<'_>) {
    if let Some(left_out) = log.panics.admit_record(clock::second()) {
        log.write("error", "panic", text_of(duty, info, left_out));
    }
    // Who sees the count finds the record.
    log.panics.count(duty);
}

fn text_of(duty: Duty, info: &PanicHookInfo<'_>, left_out: u64) -> String {
    let mut message = describe(duty, info);
    if left_out > 0 {
        // Writing to a string cannot fail.
        let _ = write!(message, "; {left_out} more panics since the last such record");
    }
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        message.push('\n');
        message.push_str(start_of(&backtrace.to_string(), MAX_BACKTRACE));
    }
    message
}

fn describe(duty: Duty, info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("a thread without a name");
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    // It may quote what a client sent, which must not look like another record.
    let text: String = start_of(text.unwrap_or("without a message"), MAX_MESSAGE)
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    format!("{thread} panicked ({}) at {place}: {text}", duty.name())
}

/// At most `length` bytes of the text.
fn start_of(text: &str, length: usize) -> &str {
    let mut end = length.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Returns true if a write of a few lines does not wait for a reader.
fn takes_lines(output: &impl AsFd) -> bool {
    poll(&mut [PollFd::new(output, PollFlags::OUT)], Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::io::{Write, pipe};

    use super::takes_lines;

    #[test]
    fn a_full_pipe_takes_no_lines() {
        let (_reader, mut writer) = pipe().unwrap();
        assert!(takes_lines(&writer));
        while takes_lines(&writer) {
            writer.write_all(&[b'x'; 4096]).unwrap();
        }
    }
}
