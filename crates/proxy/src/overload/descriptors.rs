//! The limit on open file descriptors, and how many client connections fit into it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::level;

/// Most descriptors asked for. The kernel grants no more by default (`fs.nr_open`).
const MOST: u64 = 1 << 20;
/// Descriptors for whatever else is opened later: logs, look-ups of names, health checks, the admin API, hooks.
const OTHERS: usize = 32;
/// Connections accepted beyond `max_connections` while idle ones are being closed to make room.
const OVERFLOW: usize = 32;

/// The limit on open descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DescriptorLimit {
    /// The limit in force.
    pub(crate) now: usize,
    /// The limit when the process was started.
    pub(crate) before: usize,
}

/// How many client connections are admitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConnectionFit {
    /// Client connections that may stay.
    pub(crate) max_connections: usize,
    /// Further ones that are taken while idle ones are closed.
    pub(crate) overflow: usize,
}

/// Raises the soft limit of this process to the hard one.
pub(crate) fn raise_limit() -> DescriptorLimit {
    let before = getrlimit(Resource::Nofile);
    let wanted = before.maximum.unwrap_or(MOST).min(MOST);
    let current = before.current.unwrap_or(MOST);
    // Fails where the kernel allows fewer: then the limit stays.
    let raised = current < wanted
        && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: before.maximum }).is_ok();
    let count = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
    DescriptorLimit { now: count(if raised { wanted } else { current }), before: count(current) }
}

impl ConnectionFit {
    /// Fits `wanted` client connections into `limit` descriptors, of which `used` are open for other things.
    ///
    /// A client whose request is in flight needs a connection to an instance too, and all of them together must not be
    /// an overload.
    pub(crate) fn new(wanted: usize, max_requests: usize, limit: usize, used: usize) -> Self {
        let room = (limit / 100).saturating_mul(level::SHED as usize) + limit % 100 * level::SHED as usize / 100;
        let room = room.saturating_sub(used + OTHERS);
        let clients = (room / 2).max(room.saturating_sub(max_requests));
        if clients >= wanted.saturating_add(OVERFLOW) {
            return Self { max_connections: wanted, overflow: OVERFLOW };
        }
        let overflow = (clients / 8).min(OVERFLOW);
        let max_connections = wanted.min(clients - overflow).max(1);
        Self { max_connections, overflow: clients.saturating_sub(max_connections).min(OVERFLOW) }
    }

    /// The limit on descriptors into which `wanted` client connections fit.
    pub(crate) fn needed(wanted: usize, max_requests: usize, used: usize) -> usize {
        let clients = wanted.saturating_add(OVERFLOW);
        let descriptors = clients.saturating_add(clients.min(max_requests)).saturating_add(used + OTHERS);
        (descriptors / level::SHED as usize).saturating_add(1).saturating_mul(100)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_fits_is_not_reduced() {
        let fit = ConnectionFit::new(10_000, 10_000, 65_536, 60);
        assert_eq!(fit, ConnectionFit { max_connections: 10_000, overflow: 32 });
        // Requests that may not be in flight need no instance.
        let fit = ConnectionFit::new(10_000, 1_000, 20_000, 60);
        assert_eq!(fit, ConnectionFit { max_connections: 10_000, overflow: 32 });
    }

    #[test]
    fn a_low_limit_leaves_half_for_instances() {
        let fit = ConnectionFit::new(10_000, 10_000, 256, 45);
        assert_eq!(fit, ConnectionFit { max_connections: 62, overflow: 8 });
        // However low it is, somebody is served.
        assert_eq!(ConnectionFit::new(10_000, 10_000, 40, 45), ConnectionFit { max_connections: 1, overflow: 0 });
    }

    #[test]
    fn the_limit_of_this_process_is_the_hard_one_afterwards() {
        let limit = raise_limit();
        assert_eq!(getrlimit(Resource::Nofile).current, Some(limit.now as u64));
        assert!(limit.now >= limit.before);
        assert_eq!(raise_limit(), DescriptorLimit { before: limit.now, ..limit });
    }

    proptest! {
        #[test]
        fn all_that_are_admitted_have_an_instance_and_no_overload(
            wanted in 1_usize..20_000, max_requests in 1_usize..20_000, limit in 200_usize..70_000, used in 0_usize..100
        ) {
            let fit = ConnectionFit::new(wanted, max_requests, limit, used);
            prop_assert!(fit.max_connections <= wanted && fit.overflow <= OVERFLOW && fit.max_connections >= 1);
            let clients = fit.max_connections + fit.overflow;
            let all = used + OTHERS + clients + clients.min(max_requests);
            prop_assert!(all * 100 <= limit * 85 || clients == 1, "{all} of {limit}");
            let needed = ConnectionFit::needed(wanted, max_requests, used);
            prop_assert_eq!(ConnectionFit::new(wanted, max_requests, needed, used).max_connections, wanted);
        }
    }
}
