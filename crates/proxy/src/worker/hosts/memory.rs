//! Memory that a gateway shares with a host: a pair of rings for each worker.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Bytes that a ring holds. A power of two, because positions wrap around at the end of their type.
const CAPACITY: usize = 128 * 1024;
/// Bytes before those of a ring: its positions, each in a line of the cache of its own.
const CONTROL: usize = 256;
const RING: usize = CONTROL + CAPACITY;
/// Bytes before the first ring.
const START: usize = 4096;
/// Most lanes of a host.
pub(crate) const MOST_LANES: usize = 1024;

/// The other side has written what it cannot have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mad;

/// The memory of one host, mapped until nobody uses it any more.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    start: NonNull<u8>,
    len: usize,
    lanes: usize,
}

// SAFETY: what is in the memory is only read and written as atomics, or copied in and out by pointers.
unsafe impl Send for SharedMemory {}
// SAFETY: see above.
unsafe impl Sync for SharedMemory {}

/// A direction of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaneDirection {
    ToHost,
    ToWorker,
}

impl SharedMemory {
    /// Makes memory for `lanes` workers that nobody can make smaller or larger, and maps it.
    pub(crate) fn create(lanes: usize) -> io::Result<(Arc<Self>, OwnedFd)> {
        let descriptor = memfd_create("pylae-hooks", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&descriptor, (START + 2 * RING * lanes) as u64)?;
        fcntl_add_seals(&descriptor, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok((Self::map(&descriptor)?, descriptor))
    }

    /// Maps memory that the other side has made.
    pub(crate) fn map(descriptor: impl AsFd) -> io::Result<Arc<Self>> {
        let len = usize::try_from(fstat(&descriptor)?.st_size).unwrap_or_default();
        let lanes = len.saturating_sub(START) / (2 * RING);
        if lanes == 0 || lanes > MOST_LANES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the place, so nothing else is there.
        let start = unsafe { mmap(ptr::null_mut(), len, protection, MapFlags::SHARED, descriptor, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Arc::new(Self { start, len, lanes }))
    }

    pub(crate) fn lanes(&self) -> usize {
        self.lanes
    }

    /// Counts up while the loop of the host turns.
    pub(crate) fn beat(&self) -> &AtomicU64 {
        // SAFETY: the memory begins at a page, is longer than that, and lives as long as `self`.
        unsafe { self.start.cast().as_ref() }
    }

    fn number(&self, ring: usize, index: usize) -> &AtomicU32 {
        // SAFETY: `ring` is the offset of a ring and `index` one of its lines, so this is within the memory, and
        // aligned.
        unsafe { self.start.add(ring + index * 64).cast().as_ref() }
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: nobody has a reference into the memory: they live no longer than `self`.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// One end of a ring. It believes its own position, and checks that of the other end.
#[derive(Debug)]
pub(crate) struct RingEnd {
    memory: Arc<SharedMemory>,
    /// Where the ring begins.
    ring: usize,
    /// What this end has written or read so far.
    own: u32,
}

/// The lines of the control block.
const WRITTEN: usize = 0;
const READ: usize = 1;
/// Set while the reader waits for bytes.
const ASLEEP: usize = 2;
/// Set while the writer waits for room.
const STARVED: usize = 3;

impl RingEnd {
    pub(crate) fn new(memory: &Arc<SharedMemory>, lane: usize, direction: LaneDirection) -> Self {
        let index = 2 * lane.min(memory.lanes - 1) + usize::from(direction == LaneDirection::ToWorker);
        Self { memory: Arc::clone(memory), ring: START + index * RING, own: 0 }
    }

    fn number(&self, index: usize) -> &AtomicU32 {
        self.memory.number(self.ring, index)
    }

    /// Writes as much of `bytes` as fits, and returns how much. The other end may sleep: see [`Self::must_wake`].
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<usize, Mad> {
        let mut room = self.room()?;
        if room < bytes.len() {
            self.number(STARVED).store(1, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            room = self.room()?;
        }
        let count = bytes.len().min(room);
        for (at, part) in parts(self.own, count) {
            // SAFETY: both parts are within the ring, and `bytes` is memory of this process alone.
            unsafe { ptr::copy_nonoverlapping(bytes[part.clone()].as_ptr(), self.data(at), part.len()) };
        }
        self.own = self.own.wrapping_add(count as u32);
        self.number(WRITTEN).store(self.own, Ordering::Release);
        Ok(count)
    }

    fn room(&self) -> Result<usize, Mad> {
        let used = self.own.wrapping_sub(self.number(READ).load(Ordering::Acquire)) as usize;
        CAPACITY.checked_sub(used).ok_or(Mad)
    }

    /// True if the reader sleeps and must be woken for what was written.
    pub(crate) fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.number(ASLEEP).load(Ordering::Relaxed) != 0 && self.number(ASLEEP).swap(0, Ordering::Relaxed) != 0
    }

    /// Appends all that was written to `out`, and returns how much that is. The bytes are copied: the other end may
    /// change them at any time.
    pub(crate) fn read(&mut self, out: &mut Vec<u8>) -> Result<usize, Mad> {
        let count = self.filled()?;
        out.reserve(count);
        for (at, part) in parts(self.own, count) {
            // SAFETY: both parts are within the ring, and there is room for them in `out`. The other end may write
            // meanwhile, which only changes what is copied.
            unsafe {
                ptr::copy_nonoverlapping(self.data(at), out.as_mut_ptr().add(out.len()), part.len());
                out.set_len(out.len() + part.len());
            }
        }
        self.own = self.own.wrapping_add(count as u32);
        self.number(READ).store(self.own, Ordering::Release);
        Ok(count)
    }

    fn filled(&self) -> Result<usize, Mad> {
        let filled = self.number(WRITTEN).load(Ordering::Acquire).wrapping_sub(self.own) as usize;
        if filled <= CAPACITY { Ok(filled) } else { Err(Mad) }
    }

    /// True if the writer waits for the room that was made.
    pub(crate) fn must_feed(&self) -> bool {
        fence(Ordering::SeqCst);
        self.number(STARVED).load(Ordering::Relaxed) != 0 && self.number(STARVED).swap(0, Ordering::Relaxed) != 0
    }

    /// Says that the reader sleeps from now on. Returns false if there is something to read after all.
    pub(crate) fn fall_asleep(&self) -> Result<bool, Mad> {
        self.number(ASLEEP).store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let is_empty = self.filled()? == 0;
        if !is_empty {
            self.number(ASLEEP).store(0, Ordering::Relaxed);
        }
        Ok(is_empty)
    }

    /// The byte at a position of the ring.
    fn data(&self, at: usize) -> *mut u8 {
        // SAFETY: `at` is below the capacity, so this is within the memory.
        unsafe { self.memory.start.add(self.ring + CONTROL + at).as_ptr() }
    }
}

/// Splits `count` bytes from a position on into what is before the end of the ring, and what is after it.
fn parts(position: u32, count: usize) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
    let at = position as usize % CAPACITY;
    let first = count.min(CAPACITY - at);
    [(at, 0..first), (0, first..count)].into_iter().filter(|(_, part)| !part.is_empty())
}

#[cfg(test)]
mod tests;
