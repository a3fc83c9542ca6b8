use super::*;

fn ends() -> (RingEnd, RingEnd) {
    let (memory, descriptor) = SharedMemory::create(2).unwrap();
    let other = SharedMemory::map(&descriptor).unwrap();
    (RingEnd::new(&memory, 1, LaneDirection::ToHost), RingEnd::new(&other, 1, LaneDirection::ToHost))
}

#[test]
fn what_is_written_is_read_in_order_around_the_end() {
    let (mut writer, mut reader) = ends();
    let sent: Vec<u8> = (0..3 * CAPACITY).map(|byte| (byte % 251) as u8).collect();
    let (mut written, mut got) = (0, Vec::new());
    while got.len() < sent.len() {
        written += writer.write(&sent[written..(written + CAPACITY / 3 + 7).min(sent.len())]).unwrap();
        reader.read(&mut got).unwrap();
    }
    assert_eq!(got, sent);
}

#[test]
fn a_full_ring_takes_no_more_and_says_who_waits() {
    let (mut writer, mut reader) = ends();
    assert_eq!(writer.write(&vec![1; CAPACITY + 1]), Ok(CAPACITY));
    assert_eq!(writer.write(&[1]), Ok(0));
    assert_eq!(reader.read(&mut Vec::new()), Ok(CAPACITY));
    assert!(reader.must_feed() && !reader.must_feed());
    assert_eq!(writer.write(&[1]), Ok(1));
}

#[test]
fn a_reader_that_sleeps_is_woken_once() {
    let (mut writer, mut reader) = ends();
    assert_eq!(reader.fall_asleep(), Ok(true));
    writer.write(&[1]).unwrap();
    assert!(writer.must_wake() && !writer.must_wake());
    assert_eq!(reader.fall_asleep(), Ok(false));
    assert!(!writer.must_wake());
    reader.read(&mut Vec::new()).unwrap();
}

#[test]
fn positions_that_cannot_be_are_refused() {
    let (mut writer, mut reader) = ends();
    writer.number(WRITTEN).store(CAPACITY as u32 + 1, Ordering::Relaxed);
    assert_eq!(reader.read(&mut Vec::new()), Err(Mad));
    assert_eq!(reader.fall_asleep(), Err(Mad));
    writer.number(READ).store(1, Ordering::Relaxed);
    assert_eq!(writer.write(&[1]), Err(Mad));
}

#[test]
fn nobody_can_change_the_size() {
    let (_, descriptor) = SharedMemory::create(1).unwrap();
    assert!(ftruncate(&descriptor, 0).is_err() && ftruncate(&descriptor, 1 << 30).is_err());
}
