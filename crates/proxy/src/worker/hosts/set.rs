//! The hosts of a configuration.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::Serialize;

use super::bell::Bell;
use super::link::{HostEnds, HostLink, HostState};
use crate::telemetry::metrics::HookFigures;

/// The hosts of a configuration, from which workers choose. Who looks after the processes tells what becomes of them.
#[derive(Debug)]
pub struct HostSet {
    hosts: ArcSwap<Vec<Arc<HostLink>>>,
    /// Serves changes of the list.
    changing: Mutex<()>,
    workers: usize,
    /// Most calls of a host that are not answered.
    most: usize,
    numbers: AtomicU64,
    /// The stages that hosts may know, by their definitions: each application of a plan compiles them anew.
    stages: Mutex<HashMap<Vec<u8>, Arc<StageFigures>>>,
    turn: AtomicUsize,
    news: Arc<Bell>,
    counted: Mutex<HostCounts>,
}

/// What hosts have counted.
#[derive(Debug, Default)]
struct HostCounts {
    /// By the numbers of the hosts.
    running: Vec<(u64, Vec<HookFigures>)>,
    /// The sums of those that are gone.
    gone: Vec<HookFigures>,
}

/// What is known of a host.
#[derive(Clone, Debug, Serialize)]
pub struct HostFigures {
    /// Its number: no other host of the set ever has it.
    pub number: u64,
    /// True if it takes no new exchanges.
    pub draining: bool,
    /// Calls that it has not answered.
    pub in_flight: usize,
    /// Exchanges that it knows.
    pub exchanges: usize,
    /// Calls so far.
    pub calls: u64,
    /// Turns of its loop so far.
    pub beats: u64,
    /// Why it must be replaced, if it must.
    pub trouble: Option<&'static str>,
}

/// What the gateway has counted of a stage itself.
#[derive(Debug, Default)]
pub(super) struct StageFigures {
    /// The number by which messages name it.
    pub(super) number: u32,
    /// Calls that a host has not answered.
    pub(super) lost: AtomicU64,
    /// Calls that no host had room for.
    pub(super) refused: AtomicU64,
}

impl HostSet {
    /// Creates a set for this many workers. Beyond `most` calls a host gets no further ones.
    pub fn new(workers: usize, most: usize) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            hosts: ArcSwap::default(),
            changing: Mutex::default(),
            workers,
            most,
            numbers: AtomicU64::new(1),
            stages: Mutex::default(),
            turn: AtomicUsize::new(0),
            news: Arc::new(Bell::new()?),
            counted: Mutex::default(),
        }))
    }

    /// A descriptor that is readable once a host is in trouble, or has nothing left to do.
    pub fn news(&self) -> RawFd {
        self.news.as_raw_fd()
    }

    /// Adds a host that is not ready yet. Returns its number, and what it shares with the workers.
    pub fn add(&self) -> io::Result<(u64, HostEnds)> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (link, ends) = HostLink::create(number, self.workers, &self.news)?;
        let _changing = self.changing.lock();
        let mut hosts = Vec::clone(&self.hosts.load());
        hosts.push(link);
        self.hosts.store(Arc::new(hosts));
        Ok((number, ends))
    }

    /// Takes a host to a later state. One that is lost is forgotten.
    pub fn advance(&self, number: u64, state: HostState) {
        let _changing = self.changing.lock();
        let mut hosts = Vec::clone(&self.hosts.load());
        let Some(place) = hosts.iter().position(|host| host.number == number) else { return };
        let host = Arc::clone(&hosts[place]);
        if state == HostState::Lost {
            hosts.remove(place);
            self.hosts.store(Arc::new(hosts));
            let mut counted = self.counted.lock();
            if let Some(place) = counted.running.iter().position(|(known, _)| *known == number) {
                let (_, figures) = counted.running.remove(place);
                HookFigures::add_all(&mut counted.gone, figures);
            }
        }
        host.advance(state);
    }

    /// Takes what a host has counted.
    pub fn count(&self, number: u64, figures: Vec<HookFigures>) {
        let mut counted = self.counted.lock();
        if !self.hosts.load().iter().any(|host| host.number == number) {
            return;
        }
        match counted.running.iter_mut().find(|(known, _)| *known == number) {
            Some((_, known)) => *known = figures,
            None => counted.running.push((number, figures)),
        }
    }

    /// Returns what all hosts have counted.
    pub fn counted(&self) -> Vec<HookFigures> {
        let counted = self.counted.lock();
        let mut sums = counted.gone.clone();
        for (_, figures) in &counted.running {
            HookFigures::add_all(&mut sums, figures.clone());
        }
        sums
    }

    /// Returns what is known of each host.
    pub fn figures(&self) -> Vec<HostFigures> {
        let figures = |host: &Arc<HostLink>| HostFigures {
            number: host.number,
            draining: host.state() >= HostState::Draining,
            in_flight: host.in_flight.load(Ordering::Relaxed),
            exchanges: host.exchanges.load(Ordering::Acquire),
            calls: host.calls.load(Ordering::Relaxed),
            beats: host.beats(),
            trouble: host.trouble(),
        };
        self.hosts.load().iter().map(figures).collect()
    }

    /// The number of the stage with this definition, and what the gateway has counted of it.
    pub(super) fn stage(&self, definition: &[u8]) -> Arc<StageFigures> {
        let mut stages = self.stages.lock();
        if let Some(known) = stages.get(definition) {
            return Arc::clone(known);
        }
        let figures = Arc::new(StageFigures { number: stages.len() as u32, ..StageFigures::default() });
        stages.insert(definition.to_vec(), Arc::clone(&figures));
        figures
    }

    /// Chooses the host with the fewest calls; None if none is ready and has room.
    pub(crate) fn choose(&self) -> Option<Arc<HostLink>> {
        let hosts = self.hosts.load();
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..hosts.len()).map(|index| &hosts[(start + index) % hosts.len()]);
        let ready = in_turn.filter(|host| host.state() == HostState::Warm && host.trouble().is_none());
        let least = ready.min_by_key(|host| host.in_flight.load(Ordering::Relaxed))?;
        (least.in_flight.load(Ordering::Relaxed) < self.most).then(|| Arc::clone(least))
    }
}
