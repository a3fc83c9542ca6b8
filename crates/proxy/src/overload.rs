//! What the gateway itself may run out of: how short it is of descriptors and memory, what is done about it, and what
//! it lacked. All workers share this; [`background`](crate::background) keeps it up to date.

pub(crate) mod descriptors;
pub(crate) mod level;
pub(crate) mod memory;

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use pylae_core::{Halt, Shortage};
use tokio::sync::Notify;

use self::descriptors::ConnectionFit;
pub(crate) use self::level::OverloadLevel;
use crate::io::{clock, shortage};
use crate::telemetry::log::{Log, Refusals};
use crate::telemetry::metrics::{OverloadStats, ResourceUse};

/// What the gateway may run out of, how short of it is, and what it lacked.
#[derive(Debug, Default)]
pub(crate) struct Overload {
    /// The higher level of both resources.
    level: AtomicU8,
    pub(crate) descriptors: Resource,
    pub(crate) memory: Resource,
    max_connections: AtomicUsize,
    overflow: AtomicUsize,
    /// Idle connections that each worker is asked to close.
    quota: AtomicUsize,
    shed: Notify,
    resumed: Notify,
    shortages: [AtomicU64; Shortage::ALL.len()],
    shortage_reports: Refusals,
    accept_failures: AtomicU64,
    accept_reports: Refusals,
    refusal_reports: Refusals,
}

/// How short one resource is.
#[derive(Debug, Default)]
pub(crate) struct Resource {
    level: AtomicU8,
    used: AtomicU64,
    /// 0 for none.
    limit: AtomicU64,
}

impl Resource {
    fn level(&self) -> OverloadLevel {
        OverloadLevel::ALL[usize::from(self.level.load(Ordering::Acquire))]
    }

    pub(crate) fn set_limit(&self, limit: Option<u64>) {
        self.limit.store(limit.unwrap_or(0), Ordering::Relaxed);
    }

    pub(crate) fn limit(&self) -> Option<u64> {
        Some(self.limit.load(Ordering::Relaxed)).filter(|limit| *limit > 0)
    }

    /// The level once so much is in use.
    fn next(&self, used: u64) -> OverloadLevel {
        self.level().next(used, self.limit().unwrap_or(0))
    }

    /// Notes how much is in use, and the level that is in force by now, and logs a change of it.
    fn note(&self, level: OverloadLevel, used: u64, words: impl FnOnce(u64, u64) -> String, log: &Log) {
        self.used.store(used, Ordering::Relaxed);
        if level != self.level() {
            self.level.store(level as u8, Ordering::Release);
            let severity = if level > OverloadLevel::Normal { "warning" } else { "info" };
            let message = format!("{} are in use: {}", words(used, self.limit().unwrap_or(0)), level.action());
            log.write(severity, "overload", message);
        }
    }

    fn read(&self, resource: &'static str) -> ResourceUse {
        let level = self.level();
        let used = self.used.load(Ordering::Relaxed);
        ResourceUse { resource, level: level as u8, state: level.name(), used, limit: self.limit() }
    }
}

impl Overload {
    /// Admits this many client connections.
    pub(crate) fn set_fit(&self, fit: ConnectionFit) {
        self.max_connections.store(fit.max_connections, Ordering::Relaxed);
        self.overflow.store(fit.overflow, Ordering::Relaxed);
    }

    /// Client connections that may stay.
    pub(crate) fn max_connections(&self) -> usize {
        self.max_connections.load(Ordering::Relaxed)
    }

    /// Further client connections that are taken while idle ones are closed.
    pub(crate) fn overflow(&self) -> usize {
        self.overflow.load(Ordering::Relaxed)
    }

    /// Returns true if new requests are refused.
    #[inline]
    pub(crate) fn is_refusing(&self) -> bool {
        self.level.load(Ordering::Relaxed) >= OverloadLevel::Refusing as u8
    }

    /// Waits while no connections are accepted.
    pub(crate) async fn wait_until_accepting(&self) {
        loop {
            let resumed = self.resumed.notified();
            if self.level.load(Ordering::Relaxed) < OverloadLevel::Paused as u8 {
                return;
            }
            resumed.await;
        }
    }

    /// Waits until idle connections must be closed. Returns how many by each worker.
    pub(crate) async fn wait_for_shedding(&self) -> usize {
        self.shed.notified().await;
        self.quota.load(Ordering::Relaxed)
    }

    /// Notes how much is in use, logs what changes, and asks the workers to close idle connections where that helps.
    /// Returns the level of memory, and whether it rose.
    pub(crate) fn update(&self, used: Readings, log: &Log) -> (OverloadLevel, bool) {
        let Readings { descriptors, memory, connections, workers } = used;
        // They cannot be counted if there is not even one for counting.
        let descriptors = descriptors.or_else(|| self.descriptors.limit()).unwrap_or(0);
        let memory = memory.unwrap_or_else(|| self.memory.used.load(Ordering::Relaxed));
        let before = self.memory.level();
        let (few, little) = (self.descriptors.next(descriptors), self.memory.next(memory));
        let level = few.max(little);
        // Before anybody is told: who reads that requests are refused may rely on it.
        let paused = self.level.swap(level as u8, Ordering::Relaxed) == OverloadLevel::Paused as u8;
        if paused && level < OverloadLevel::Paused {
            self.resumed.notify_waiters();
        }
        let of_memory = |used, limit| format!("{} of {} MB of memory", used >> 20, limit >> 20);
        self.descriptors.note(few, descriptors, |used, limit| format!("{used} of {limit} file descriptors"), log);
        self.memory.note(little, memory, of_memory, log);
        if level > OverloadLevel::Normal {
            let excess = self
                .descriptors
                .limit()
                .filter(|_| few > OverloadLevel::Normal)
                .map_or(0, |limit| usize::try_from(level::excess(descriptors, limit)).unwrap_or(usize::MAX));
            // How much memory a connection takes is not known, so some of them go each time.
            let some = if little > OverloadLevel::Normal { connections / 10 + 1 } else { 0 };
            self.quota.store(excess.max(some).div_ceil(workers.max(1)), Ordering::Relaxed);
            self.shed.notify_waiters();
        }
        (little, little > before)
    }

    /// Counts and logs that the gateway itself lacked something. `doing`: what it was about to do.
    pub(crate) fn report_shortage(&self, log: &Log, what: Shortage, doing: impl FnOnce() -> String) {
        self.shortages[what as usize].fetch_add(1, Ordering::Relaxed);
        let remedy = match what {
            Shortage::Descriptors => "raise the limit on open files (LimitNOFILE= of systemd, ulimit -n)",
            Shortage::Ports => "widen net.ipv4.ip_local_port_range, or keep more connections (max_idle of the service)",
            Shortage::Memory => "give the gateway more memory, or lower its limits",
        };
        self.shortage_reports.report(log, clock::coarse(), Halt::Shortage(what).code(), || {
            let resource = what.resource();
            format!("{} failed: the gateway is out of {resource}, which no instance is blamed for; {remedy}", doing())
        });
    }

    /// Counts and logs that a connection could not be accepted.
    pub(crate) fn report_accept_failure(&self, log: &Log, error: &io::Error) {
        self.accept_failures.fetch_add(1, Ordering::Relaxed);
        self.accept_reports.report(log, clock::coarse(), "accept_failed", || {
            let shed =
                if shortage::of_system(error).is_some() { "; idle connections are closed to make room" } else { "" };
            format!("a connection could not be accepted: {error}{shed}")
        });
    }

    /// Logs that a connection was refused for want of room.
    pub(crate) fn report_refused_connection(&self, log: &Log) {
        self.refusal_reports.report(log, clock::coarse(), "connection_refused", || {
            let (max, overflow) = (self.max_connections(), self.overflow());
            format!(
                "a client's connection was refused: {max} are admitted and {overflow} more for a moment; raise \
                 limits.max_connections, or the limit on file descriptors if that has made them fewer"
            )
        });
    }

    /// The state of all resources.
    pub(crate) fn stats(&self) -> OverloadStats {
        let counted = |what: Shortage| (what.resource(), self.shortages[what as usize].load(Ordering::Relaxed));
        OverloadStats {
            resources: [self.descriptors.read("descriptors"), self.memory.read("memory")],
            max_connections: self.max_connections(),
            shortages: Shortage::ALL.map(counted).into(),
            accept_failures: self.accept_failures.load(Ordering::Relaxed),
        }
    }
}

/// What is in use.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Readings {
    /// Open descriptors, or None if they cannot be counted.
    pub(crate) descriptors: Option<u64>,
    /// Bytes, or None if that cannot be read.
    pub(crate) memory: Option<u64>,
    /// Open client connections.
    pub(crate) connections: usize,
    pub(crate) workers: usize,
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn events(log: &Log) -> Vec<String> {
        let records = log.take().unwrap_or_default();
        records.into_iter().map(|record| format!("{} {}", record.level, record.message)).collect()
    }

    fn used(descriptors: u64, memory: u64) -> Readings {
        Readings { descriptors: Some(descriptors), memory: Some(memory), connections: 100, workers: 2 }
    }

    #[test]
    fn each_change_is_told_once_and_the_higher_level_counts() {
        let (overload, log) = (Overload::default(), Log::default());
        overload.descriptors.set_limit(Some(1000));
        overload.memory.set_limit(Some(100 << 20));
        assert_eq!(overload.update(used(800, 50 << 20), &log), (OverloadLevel::Normal, false));
        assert_eq!(overload.update(used(860, 50 << 20), &log), (OverloadLevel::Normal, false));
        assert_eq!(overload.quota.load(Ordering::Relaxed), 30, "60 in excess of 800, by two workers");
        assert_eq!(overload.update(used(860, 92 << 20), &log), (OverloadLevel::Refusing, true));
        assert_eq!(overload.update(used(860, 92 << 20), &log), (OverloadLevel::Refusing, false));
        assert!(overload.is_refusing());
        overload.update(used(700, 50 << 20), &log);
        assert!(!overload.is_refusing());
        assert_eq!(
            events(&log),
            [
                "warning 860 of 1000 file descriptors are in use: idle connections are closed",
                "warning 92 of 100 MB of memory are in use: idle connections are closed and new requests refused",
                "info 700 of 1000 file descriptors are in use: connections and requests are taken as usual",
                "info 50 of 100 MB of memory are in use: connections and requests are taken as usual",
            ]
        );
    }

    #[test]
    fn what_is_told_is_in_force() {
        let (overload, log) = (Overload::default(), Log::default());
        overload.memory.set_limit(Some(100));
        let (seen, looked) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let seen = seen;
                for turn in 0..1000 {
                    let refuses = turn % 2 == 0;
                    while (overload.stats().resources[1].state == "paused") != refuses {}
                    assert_eq!(overload.is_refusing(), refuses);
                    seen.send(()).unwrap();
                }
            });
            for turn in 0..1000 {
                overload.update(used(0, if turn % 2 == 0 { 100 } else { 0 }), &log);
                looked.recv().unwrap();
            }
        });
    }

    #[test]
    fn what_cannot_be_read_is_taken_for_the_worst_or_for_what_it_was() {
        let (overload, log) = (Overload::default(), Log::default());
        overload.descriptors.set_limit(Some(1000));
        overload.memory.set_limit(Some(100));
        overload.update(used(10, 86), &log);
        overload.update(Readings { workers: 1, ..Readings::default() }, &log);
        let [descriptors, memory] = overload.stats().resources;
        assert_eq!((descriptors.state, memory.state), ("paused", "shedding"));
    }

    #[test]
    fn failures_are_counted_each_and_told_once_a_second() {
        let (overload, log) = (Overload::default(), Log::default());
        for _ in 0..50 {
            overload.report_accept_failure(&log, &io::Error::from_raw_os_error(libc::EMFILE));
            overload.report_shortage(&log, Shortage::Ports, || "connecting to http://a:1 of service s".to_owned());
        }
        assert_eq!(overload.stats().accept_failures, 50);
        assert_eq!(overload.stats().shortages["ports"], 50);
        let told = events(&log);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].ends_with("(os error 24); idle connections are closed to make room"), "{told:?}");
        assert!(
            told[1].starts_with("warning connecting to http://a:1 of service s failed: the gateway is out of ports")
        );
    }
}
