//! Everything that touches a socket, a task or a timer.
//!
//! The folders form a graph without cycles: each knows only those below it in this list.

mod engine;

mod background;
mod thread;

mod connection;
mod flow;
mod reply;
mod upstream;

mod client;
mod worker;

mod overload;
mod pool;
mod snapshot;
mod store;
mod telemetry;

mod io;

pub use background::admin::{AdminConnection, AdminSettings, ConnectionEnds};
pub use background::shared_limits::SharedLimits;
pub use engine::{Drain, Engine, LimitQuestion, RegistryStore, SignalEvent, Signals};
pub use flow::explain::{DecidedRequest, Explanation, Question, check, decide_all, explain};
pub use io::clock::shift_clock;
pub use io::tls::{LocalCertificate, local_certificate};
pub use store::StoreValue;
pub use telemetry::access_log::SinkStats;
pub use telemetry::liveness::Liveness;
pub use telemetry::log::{DroppedRecords, Log, LogArea, Record, Refusals, count_unhandled, set_log_steps};
pub use telemetry::metrics::{
    CacheSummary, CacheTotals, Connections, Cost, CostKind, Costs, FeedFigures, Group, HookFigures, HookState,
    NodeStats, OverloadStats, Recently, ResourceUse, ServiceSummary, Spending, Stats, StoreStats, Summary,
    TokenFigures, Totals, WorkerFigures,
};
pub use telemetry::otlp::ExportStats;
pub use telemetry::panics::{Duty, supervise};
pub use telemetry::recent::Exchanges;
pub use telemetry::stderr::{flush_stderr, write_stderr};
pub use telemetry::traces::{HookSpan, SpanEvent, SpanValue, hook_ended, step_began};
pub use telemetry::watches::{WatchProgress, WatchQuestion};
pub use worker::gate::{GateOpen, InterpreterGate, Pass};
pub use worker::hosts::{HostDuty, HostEnds, HostFigures, HostSet, HostState, HostStop, HostedStage, serve_host};
