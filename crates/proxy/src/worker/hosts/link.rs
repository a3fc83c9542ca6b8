//! A host as the gateway knows it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::bell::Bell;
use super::memory::{LaneDirection, MOST_LANES, RingEnd, SharedMemory};

/// Lanes beside those of the workers: a worker that takes the place of a stuck one gets a new one.
const SPARE: usize = 8;

/// What a host is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
#[repr(u8)]
pub enum HostState {
    /// It is not ready yet.
    Starting,
    /// It takes exchanges.
    Warm,
    /// It takes no new exchanges.
    Draining,
    /// It is gone, and all calls in it with it.
    Lost,
}

const STATES: [HostState; 4] = [HostState::Starting, HostState::Warm, HostState::Draining, HostState::Lost];

/// A host and what it shares with the workers.
#[derive(Debug)]
pub(crate) struct HostLink {
    pub(crate) number: u64,
    memory: Arc<SharedMemory>,
    /// Wakes the host.
    pub(crate) bell: Bell,
    /// Wake the workers, by lane.
    bells: Box<[Bell]>,
    state: AtomicU8,
    /// Calls that it has not answered.
    pub(crate) in_flight: AtomicUsize,
    /// Exchanges that it knows.
    pub(crate) exchanges: AtomicUsize,
    /// Calls so far.
    pub(crate) calls: AtomicU64,
    keys: AtomicU64,
    next_lane: AtomicUsize,
    /// Why it must be replaced.
    trouble: Mutex<Option<&'static str>>,
    /// Wakes who looks after the hosts.
    news: Arc<Bell>,
}

/// The descriptors that a host gets: the memory, its own bell, and those of the lanes.
#[derive(Debug)]
pub struct HostEnds {
    memory: OwnedFd,
    bells: Vec<RawFd>,
    _link: Arc<HostLink>,
}

impl HostEnds {
    /// The descriptors, which stay open as long as `self`.
    pub fn descriptors(&self) -> Vec<RawFd> {
        std::iter::once(self.memory.as_raw_fd()).chain(self.bells.iter().copied()).collect()
    }
}

impl HostLink {
    pub(crate) fn create(number: u64, workers: usize, news: &Arc<Bell>) -> io::Result<(Arc<Self>, HostEnds)> {
        let lanes = (workers + SPARE).min(MOST_LANES);
        let (memory, descriptor) = SharedMemory::create(lanes)?;
        let bells = (0..lanes).map(|_| Bell::new()).collect::<io::Result<Box<[_]>>>()?;
        let link = Arc::new(Self {
            number,
            memory,
            bell: Bell::new()?,
            bells,
            state: AtomicU8::new(HostState::Starting as u8),
            in_flight: AtomicUsize::new(0),
            exchanges: AtomicUsize::new(0),
            calls: AtomicU64::new(0),
            keys: AtomicU64::new(1),
            next_lane: AtomicUsize::new(0),
            trouble: Mutex::default(),
            news: Arc::clone(news),
        });
        let bells = std::iter::once(&link.bell).chain(&link.bells).map(AsRawFd::as_raw_fd).collect();
        let ends = HostEnds { memory: descriptor, bells, _link: Arc::clone(&link) };
        Ok((link, ends))
    }

    pub(crate) fn state(&self) -> HostState {
        STATES[usize::from(self.state.load(Ordering::Acquire))]
    }

    /// Takes it to a later state.
    pub(crate) fn advance(&self, state: HostState) {
        let before = self.state.fetch_max(state as u8, Ordering::AcqRel);
        if state == HostState::Lost && before < state as u8 {
            self.bells.iter().for_each(Bell::ring);
        }
    }

    /// Takes a lane for this thread; None if all were taken. A lane is never taken twice: its positions are those of
    /// both ends.
    pub(crate) fn take_lane(&self) -> Option<(usize, RingEnd, RingEnd)> {
        let lane = self.next_lane.fetch_add(1, Ordering::Relaxed);
        if lane >= self.bells.len() {
            self.condemn("lanes");
            return None;
        }
        let end = |direction| RingEnd::new(&self.memory, lane, direction);
        Some((lane, end(LaneDirection::ToHost), end(LaneDirection::ToWorker)))
    }

    pub(crate) fn lane_bell(&self, lane: usize) -> &Bell {
        &self.bells[lane]
    }

    pub(crate) fn next_key(&self) -> u64 {
        self.keys.fetch_add(1, Ordering::Relaxed)
    }

    /// Says why the host must be replaced. The first reason counts.
    pub(crate) fn condemn(&self, reason: &'static str) {
        self.trouble.lock().get_or_insert(reason);
        self.news.ring();
    }

    pub(crate) fn trouble(&self) -> Option<&'static str> {
        *self.trouble.lock()
    }

    /// How often the loop of the host has turned, as it says.
    pub(crate) fn beats(&self) -> u64 {
        self.memory.beat().load(Ordering::Relaxed)
    }

    /// Tells who looks after the hosts that an exchange is over, if it waits for that.
    pub(crate) fn exchange_over(&self) {
        if self.exchanges.fetch_sub(1, Ordering::AcqRel) == 1 && self.state() == HostState::Draining {
            self.news.ring();
        }
    }
}
