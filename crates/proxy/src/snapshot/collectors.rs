//! What the plan says of OpenTelemetry collectors: checks, and TLS towards them.

use std::sync::Arc;

use pylae_core::Problem;
use pylae_core::plan::{CollectorPlan, Plan, Protocol, ServiceTls, TelemetryPlan, TlsVersion};

use crate::io::tls::Connector;

/// Reports what is wrong with the collectors of a plan.
pub(super) fn check_collectors(plan: &Plan, problems: &mut Vec<Problem>) {
    let Some(TelemetryPlan { traces, metrics, logs, .. }) = &plan.telemetry else { return };
    let traces = traces.as_ref().map(|traces| ("traces", &traces.collector));
    let metrics = metrics.as_ref().map(|metrics| ("metrics", &metrics.collector));
    let logs = logs.as_ref().map(|logs| ("logs", &logs.collector));
    for (signal, collector) in [traces, metrics, logs].into_iter().flatten() {
        let prefix = format!("telemetry.{signal}.collector");
        let uri = collector.endpoint.parse::<http::Uri>().ok();
        if !uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()) {
            problems.push(Problem::at(format!("{prefix}.endpoint"), "must be an http:// or https:// address"));
        }
        if let (Some(_), Err(found)) = (&collector.ca, connector(collector)) {
            problems.extend(found.into_iter().map(|problem| problem.under(&prefix)));
        }
    }
}

/// The TLS settings towards a collector that speaks gRPC.
pub(crate) fn connector(collector: &CollectorPlan) -> Result<Arc<Connector>, Vec<Problem>> {
    let plan = ServiceTls {
        verify: true,
        ca: collector.ca.clone(),
        server_name: None,
        certificate: None,
        min_version: TlsVersion::V12,
    };
    Connector::build(&plan, Some(Protocol::Http2), None)
}
