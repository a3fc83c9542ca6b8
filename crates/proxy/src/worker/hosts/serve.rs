//! The loop of a host: it takes what workers send, calls the hooks, and answers.

mod bells;
mod body;
mod host;
mod lane;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pylae_core::hook::HookSource;
use tokio::task::LocalSet;

use self::bells::HostBells;
use self::host::ServingHost;
use super::bell::Bell;
use super::memory::SharedMemory;

/// Interval between two beats, while there is nothing to do.
const BEAT: Duration = Duration::from_millis(100);

/// What a host serves with: the ends that it shares with the workers.
#[derive(Debug)]
pub struct HostDuty {
    memory: Arc<SharedMemory>,
    bell: Bell,
    bells: Vec<Bell>,
    stop: Arc<Bell>,
}

/// Ends the loop of a host.
#[derive(Clone, Debug)]
pub struct HostStop(Arc<Bell>);

impl HostStop {
    /// Ends it soon.
    pub fn stop(&self) {
        self.0.ring();
    }
}

impl HostDuty {
    /// Takes the descriptors of [`HostEnds`](super::HostEnds), in their order.
    pub fn new(descriptors: Vec<OwnedFd>) -> io::Result<Self> {
        let mut descriptors = descriptors.into_iter();
        let missing = || io::Error::from(io::ErrorKind::InvalidInput);
        let memory = SharedMemory::map(descriptors.next().ok_or_else(missing)?.as_fd())?;
        let bell = Bell::of(descriptors.next().ok_or_else(missing)?);
        let bells: Vec<Bell> = descriptors.map(Bell::of).collect();
        if bells.len() != memory.lanes() {
            return Err(missing());
        }
        Ok(Self { memory, bell, bells, stop: Arc::new(Bell::new()?) })
    }

    /// What ends the loop.
    pub fn stopper(&self) -> HostStop {
        HostStop(Arc::clone(&self.stop))
    }
}

/// Serves until it is stopped, or a worker has written what it cannot mean.
pub fn serve_host(duty: HostDuty, source: &Arc<dyn HookSource>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (memory, mut served) = (Arc::clone(&duty.memory), Ok(()));
    let mut duty = Some(duty);
    source.run_worker(0, &mut || {
        let Some(duty) = duty.take() else { return };
        let tasks = LocalSet::new();
        served = tasks.block_on(&runtime, run(duty, Arc::clone(&memory), Arc::clone(source)));
    });
    served
}

async fn run(duty: HostDuty, memory: Arc<SharedMemory>, source: Arc<dyn HookSource>) -> io::Result<()> {
    let (rung, stopped) = (duty.bell.watch()?, duty.stop.watch()?);
    let host = Rc::new(ServingHost::new(HostBells::new(duty.bells)?, &memory, source));
    let beating = Arc::clone(&memory);
    tokio::task::spawn_local(async move {
        loop {
            beating.beat().fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(BEAT).await;
        }
    });
    let serving = async {
        loop {
            memory.beat().fetch_add(1, Ordering::Relaxed);
            if host.take_messages().map_err(|_| io::ErrorKind::InvalidData)? {
                tokio::task::yield_now().await;
            } else {
                rung.rung().await;
            }
        }
    };
    tokio::select! {
        served = serving => served,
        () = stopped.rung() => Ok(()),
    }
}

#[cfg(test)]
mod tests;
