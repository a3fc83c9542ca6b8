//! Areas of the gateway's log: what a record is about. Python has a logger for each, and people set levels by them.

use serde::Serialize;

/// What a record of the log is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogArea {
    /// The admin API.
    Admin,
    /// Who sends a request: keys and tokens, and those that instances get.
    Auth,
    /// The nodes of a cluster and what they tell each other.
    Cluster,
    /// The configuration in force.
    Config,
    /// Threads, panics and what the gateway may run out of.
    Engine,
    /// Health checks, ejections and breakers.
    Health,
    /// Python functions that see requests.
    Hooks,
    /// Sockets that clients connect to, and their connections.
    Listeners,
    /// Where instances come from.
    Registry,
    /// Requests: routes, policies, cache and answers.
    Requests,
    /// What is kept and shared.
    Store,
    /// Logs, metrics and traces.
    Telemetry,
    /// Certificates and handshakes.
    Tls,
    /// Attempts and connections to instances.
    Upstream,
}

/// The area of each event that is a record.
const EVENTS: &[(LogArea, &[&str])] = &[
    (LogArea::Admin, &["admin_accept_failed", "admin_failed", "admin_handshake_failed", "control_plane_stuck"]),
    (LogArea::Auth, &["keys_fetched", "keys_not_fetched", "token_fetched", "token_not_fetched"]),
    (
        LogArea::Cluster,
        &["nodes_disagree", "revocations_full", "revocations_strange", "revocations_unknown", "stream_refused"],
    ),
    (
        LogArea::Engine,
        &[
            "bounds",
            "overload",
            "panic",
            "thread_failed",
            "worker_back",
            "worker_given_up",
            "worker_not_ended",
            "worker_replaced",
            "worker_stuck",
        ],
    ),
    (LogArea::Health, &["service_changed"]),
    (
        LogArea::Hooks,
        &[
            "hook_crowded",
            "hook_demoted",
            "hook_failed",
            "hook_not_called",
            "hook_over_budget",
            "hook_stuck",
            "hook_timeout",
            "interpreter_held",
            "interpreter_released",
        ],
    ),
    (LogArea::Listeners, &["accept_failed", "connection_refused", "listen_failed"]),
    (LogArea::Requests, &["expression_failed"]),
    (LogArea::Store, &["store_answer", "store_available", "store_unavailable"]),
    (
        LogArea::Telemetry,
        &[
            "access_log_closed",
            "access_log_loss",
            "access_log_loss_over",
            "export_failing",
            "export_lost",
            "export_recovered",
            "export_refused",
            "log_overflow",
            "logs_reopened",
            "steps_left_out",
            "trace_token_refused",
        ],
    ),
    (LogArea::Upstream, &["instance_handshake_failed", "kept_connection_lost"]),
];

/// The area of each step, by the module that takes it. The longest name that fits counts.
const MODULES: &[(&str, LogArea)] = &[
    ("pylae_proxy::background::admin", LogArea::Admin),
    ("pylae_proxy::background::export", LogArea::Telemetry),
    ("pylae_proxy::background::feed", LogArea::Cluster),
    ("pylae_proxy::background::health", LogArea::Health),
    ("pylae_proxy::background::jwks", LogArea::Auth),
    ("pylae_proxy::background::tokens", LogArea::Auth),
    ("pylae_proxy::client", LogArea::Requests),
    ("pylae_proxy::connection", LogArea::Listeners),
    ("pylae_proxy::connection::tls", LogArea::Tls),
    ("pylae_proxy::engine", LogArea::Config),
    ("pylae_proxy::flow", LogArea::Requests),
    ("pylae_proxy::flow::forward", LogArea::Upstream),
    ("pylae_proxy::flow::python_hooks", LogArea::Hooks),
    ("pylae_proxy::reply", LogArea::Requests),
    ("pylae_proxy::store", LogArea::Store),
    ("pylae_proxy::telemetry", LogArea::Telemetry),
    ("pylae_proxy::telemetry::log", LogArea::Health),
    ("pylae_proxy::thread::accept", LogArea::Listeners),
    ("pylae_proxy::upstream", LogArea::Upstream),
];

impl LogArea {
    /// All areas by name.
    pub const ALL: [Self; 14] = [
        Self::Admin,
        Self::Auth,
        Self::Cluster,
        Self::Config,
        Self::Engine,
        Self::Health,
        Self::Hooks,
        Self::Listeners,
        Self::Registry,
        Self::Requests,
        Self::Store,
        Self::Telemetry,
        Self::Tls,
        Self::Upstream,
    ];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Auth => "auth",
            Self::Cluster => "cluster",
            Self::Config => "config",
            Self::Engine => "engine",
            Self::Health => "health",
            Self::Hooks => "hooks",
            Self::Listeners => "listeners",
            Self::Registry => "registry",
            Self::Requests => "requests",
            Self::Store => "store",
            Self::Telemetry => "telemetry",
            Self::Tls => "tls",
            Self::Upstream => "upstream",
        }
    }

    /// The area of a record, by its event. `engine` if no other claims it.
    pub(super) fn of_event(event: &str) -> Self {
        EVENTS.iter().find(|(_, events)| events.contains(&event)).map_or(Self::Engine, |(area, _)| *area)
    }

    /// The area of a step, by the target of its event. None if it is not one of the gateway.
    pub(super) fn of_target(target: &str) -> Option<Self> {
        if !target.starts_with("pylae_") {
            return None;
        }
        let fits =
            |module: &str| target.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
        let found = MODULES.iter().filter(|(module, _)| fits(module)).max_by_key(|(module, _)| module.len());
        Some(found.map_or(Self::Engine, |(_, area)| *area))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_has_one_area_and_areas_have_the_names_of_the_configuration() {
        let mut events: Vec<_> = EVENTS.iter().flat_map(|(_, events)| events.iter()).collect();
        let count = events.len();
        events.sort_unstable();
        events.dedup();
        assert_eq!(events.len(), count);
        for area in LogArea::ALL {
            assert_eq!(serde_json::json!(area), area.name());
        }
    }

    #[test]
    fn a_step_belongs_to_the_nearest_module() {
        assert_eq!(LogArea::of_target("pylae_proxy::flow::forward"), Some(LogArea::Upstream));
        assert_eq!(LogArea::of_target("pylae_proxy::flow::forward::pause"), Some(LogArea::Upstream));
        assert_eq!(LogArea::of_target("pylae_proxy::flow::forwarded"), Some(LogArea::Requests));
        assert_eq!(LogArea::of_target("pylae_proxy::connection::tls"), Some(LogArea::Tls));
        assert_eq!(LogArea::of_target("pylae_proxy::worker"), Some(LogArea::Engine));
        assert_eq!(LogArea::of_target("h2::server"), None);
    }

    #[test]
    fn an_event_that_no_area_claims_is_one_of_the_engine() {
        assert_eq!(LogArea::of_event("keys_fetched"), LogArea::Auth);
        assert_eq!(LogArea::of_event("unheard_of"), LogArea::Engine);
    }
}
