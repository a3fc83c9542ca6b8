//! How many client connections fit into the limit on file descriptors, and what is said about it.

use pylae_core::plan::Plan;

use crate::overload::descriptors::{ConnectionFit, DescriptorLimit, raise_limit};
use crate::overload::memory::group_limit;
use crate::telemetry::metrics::open_descriptors;
use crate::worker::WorkerShared;

/// Descriptors of a thread's runtime: its epoll instance and what wakes it.
const PER_THREAD: usize = 3;

/// What the system gives the process.
pub(super) struct Capacity {
    descriptors: DescriptorLimit,
    /// Descriptors that are open whatever clients do.
    used: usize,
}

impl Capacity {
    /// Raises the limit on descriptors. To be called once the plan's `listeners` are bound and before workers start.
    pub(super) fn new(plan: &Plan, listeners: usize) -> Self {
        let open = open_descriptors().and_then(|open| usize::try_from(open).ok()).unwrap_or(0);
        // A worker watches a copy of each listening socket. The auxiliary thread listens on nothing.
        let used = open + plan.workers * (PER_THREAD + listeners) + PER_THREAD;
        Self { descriptors: raise_limit(), used }
    }

    /// Admits as many client connections as the plan says and descriptors allow, and bounds memory. Logs what applies
    /// if that is new.
    pub(super) fn apply(&self, shared: &WorkerShared, plan: &Plan) {
        let (overload, limits, now) = (&shared.overload, &plan.limits, self.descriptors.now);
        let before = (overload.max_connections(), overload.memory.limit());
        overload.set_fit(ConnectionFit::new(limits.max_connections, limits.max_requests, now, self.used));
        overload.descriptors.set_limit(Some(now as u64));
        overload.memory.set_limit(limits.max_memory.or_else(group_limit));
        if before != (overload.max_connections(), overload.memory.limit()) {
            self.report(shared, plan);
        }
    }

    fn report(&self, shared: &WorkerShared, plan: &Plan) {
        let Self { descriptors: DescriptorLimit { now, before }, used } = *self;
        let (wanted, admitted) = (plan.limits.max_connections, shared.overload.max_connections());
        let raised = if now > before { format!(" (raised from {before})") } else { String::new() };
        let memory = shared.overload.memory.limit();
        let memory = memory.map(|bytes| format!(", {} MB of memory", bytes >> 20)).unwrap_or_default();
        let limits = format!("bounds: {admitted} client connections, {now} file descriptors{raised}{memory}");
        if admitted == wanted {
            return shared.log.write("info", "bounds", limits);
        }
        let needed = ConnectionFit::needed(wanted, plan.limits.max_requests, used);
        let message = format!(
            "{limits}; descriptors are too few for limits.max_connections {wanted}, as each client may need a \
             connection to an instance too: raise their limit to {needed} (LimitNOFILE= of systemd, --ulimit nofile= \
             of containers, ulimit -n), or lower max_connections or max_requests"
        );
        shared.log.write("warning", "bounds", message);
    }
}
