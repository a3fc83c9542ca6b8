use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::output::{OutputKind, WriteResult};
use super::*;

/// A non-blocking output with a small buffer, and its other end.
fn narrow() -> (LogOutput, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    let file = File::from(OwnedFd::from(near));
    let kind = OutputKind::File { path: format!("/proc/self/fd/{}", file.as_raw_fd()), file: Some(file) };
    (LogOutput { kind, partial: Vec::new() }, far)
}

fn read(far: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    // A non-blocking socket fails once all that is there was read.
    let _ = far.read_to_end(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

/// Numbered lines of 1000 bytes.
fn lines(numbers: std::ops::Range<u32>) -> Vec<u8> {
    numbers.flat_map(|number| format!("{number:0>999}\n").into_bytes()).collect()
}

#[test]
fn a_line_that_was_written_in_part_is_completed_before_the_next() {
    let (mut target, mut far) = narrow();
    let is_closing = || true;
    let first = target.write(&lines(0..4000), 4000, &is_closing);
    assert!(!target.partial.is_empty(), "the output was to be full in the middle of a line");
    assert_eq!(first.written + first.dropped, 3999);
    // Still full: the rest stays, and nothing is written before it.
    assert_eq!(target.write(&lines(4000..4002), 2, &is_closing), WriteResult { written: 0, dropped: 2 });
    let mut text = read(&mut far);
    assert_eq!(target.write(&lines(4002..4004), 2, &is_closing), WriteResult { written: 3, dropped: 0 });
    text += &read(&mut far);
    let numbers: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
    let whole = u32::try_from(first.written).unwrap();
    assert_eq!(numbers, (0..=whole).chain(4002..4004).collect::<Vec<_>>());
    assert!(text.lines().all(|line| line.len() == 999));
}

#[test]
fn lines_that_were_being_written_in_a_panic_are_counted_as_lost() {
    let opened = start("/dev/null", 1, &Arc::default()).unwrap();
    opened.sink.finishing.store(true, Ordering::Release);
    let batch = PendingLines { bytes: lines(0..3), lines: 3 };
    let mut writing = Writing { target: narrow().0, batch, watch: LossWatch::default() };
    opened.sink.run(&mut writing, |_| unreachable!("it is to end"));
    assert_eq!((opened.sink.loss.lost(), opened.sink.written.load(Ordering::Relaxed)), (3, 0));
}

#[test]
fn an_output_that_has_room_again_is_waited_for() {
    let (mut target, mut far) = narrow();
    let reader = thread::spawn(move || {
        far.set_nonblocking(false).unwrap();
        let mut text = String::new();
        far.read_to_string(&mut text).unwrap();
        text.lines().count()
    });
    assert_eq!(target.write(&lines(0..4000), 4000, &|| false), WriteResult { written: 4000, dropped: 0 });
    drop(target);
    assert_eq!(reader.join().unwrap(), 4000);
}

#[test]
fn the_rest_of_a_line_does_not_go_to_another_file() {
    let (mut target, _far) = narrow();
    target.write(&lines(0..4000), 4000, &|| true);
    let other = narrow();
    let OutputKind::File { path: new, file } = other.0.kind else { unreachable!() };
    let OutputKind::File { path, .. } = &mut target.kind else { unreachable!() };
    *path = new;
    // A socket cannot be opened by its path. What matters is that the partial line is dropped with its file.
    assert_eq!(target.write(&lines(0..1), 1, &|| true), WriteResult { written: 0, dropped: 2 });
    assert!(target.partial.is_empty());
    drop(file);
}

#[test]
fn the_writer_is_not_woken_for_lines_that_it_will_find_anyway() {
    let sink = Arc::new(Sink {
        output: "another".to_owned(),
        lanes: [Mutex::default()].into(),
        notified: AtomicBool::new(false),
        finishing: AtomicBool::new(false),
        reopening: AtomicBool::new(false),
        written: AtomicU64::new(0),
        loss: Loss::new("another", Arc::default()),
        writer: thread::current(),
    });
    let buffer = LogBuffer::new(0);
    let write = || buffer.write(&sink, |line| line.extend_from_slice(b"line\n"));
    let (target, mut far) = narrow();
    let mut writing = Writing { target, batch: PendingLines::default(), watch: LossWatch::default() };
    write();
    assert!(sink.notified.load(Ordering::SeqCst), "the first line wakes the writer");
    let mut pauses = Vec::new();
    sink.run(&mut writing, |pause| {
        pauses.push(pause);
        match pauses.len() {
            1 | 2 => {
                assert!(sink.notified.load(Ordering::SeqCst), "it looks again by itself");
                write();
            }
            3 => assert!(sink.notified.load(Ordering::SeqCst)),
            4 => {
                assert!(!sink.notified.load(Ordering::SeqCst), "the next line has to wake it");
                write();
                assert!(sink.notified.load(Ordering::SeqCst));
            }
            _ => sink.finishing.store(true, Ordering::Release),
        }
    });
    assert_eq!(pauses, [BATCH_INTERVAL, BATCH_INTERVAL, BATCH_INTERVAL, IDLE_INTERVAL, BATCH_INTERVAL]);
    assert_eq!(read(&mut far), "line\n".repeat(4));
}
