//! The admin address of a running engine.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::Engine;
use crate::background::admin::{AdminConnection, AdminEdge, AdminSettings, AdminTls};
use crate::snapshot::Snapshot;
use crate::telemetry::liveness::Liveness;
use crate::telemetry::metrics::Summary;

impl Engine {
    /// Serves the admin address, whose socket listens, with the TLS that the plan in force has for it, until the end of
    /// the stop. Returns a descriptor that is readable while connections wait for Python.
    pub fn serve_admin(self: &Arc<Self>, listening: OwnedFd, settings: AdminSettings) -> io::Result<OwnedFd> {
        let mut admin = self.admin.lock();
        if self.liveness.is_stopping() {
            return Err(io::Error::other("the gateway stops"));
        }
        let engine = Arc::downgrade(self);
        let health = Box::new(move || engine.upgrade().map(|engine| engine.describe_health()));
        let (liveness, log) = (Arc::clone(&self.liveness), Arc::clone(self.log()));
        let snapshot = Arc::clone(&self.state.in_force.lock().snapshot);
        let edge = AdminEdge::start(listening, settings, liveness, log, health, tls_of(&snapshot))?;
        let watched = edge.watched()?;
        *admin = Some(edge);
        Ok(watched)
    }

    /// Has the admin address follow the plan in force.
    pub(super) fn follow_admin_tls(&self, snapshot: &Snapshot) {
        if let Some(edge) = &*self.admin.lock() {
            edge.set_tls(tls_of(snapshot));
        }
    }

    /// Replaces the token of the admin address.
    pub fn set_admin_token(&self, token: &str) {
        if let Some(edge) = &*self.admin.lock() {
            edge.set_token(token);
        }
    }

    /// How the gateway is doing while Python cannot judge it: the document of `/health`, without its services.
    fn describe_health(&self) -> String {
        let Summary { recent, stuck: mut reasons, .. } = self.summary();
        if reasons.is_empty() {
            reasons.push("Python code does not answer".to_owned());
        }
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let rate = if recent.requests > 0 { recent.errors as f64 / recent.requests as f64 } else { 0.0 };
        serde_json::json!({
            "status": "degraded", "reasons": reasons, "window": recent.window, "requests": recent.requests,
            "errors": recent.errors, "error_rate": rate, "mean_duration": recent.mean, "services": {},
            "maintenance": self.shared.maintenance.in_force().map_or_else(Vec::new, |switches| switches.names()),
        })
        .to_string()
    }

    /// Replaces the names besides the loopback ones that the admin address may be asked for under.
    pub fn set_admin_hosts(&self, hosts: Vec<String>) {
        if let Some(edge) = &*self.admin.lock() {
            edge.set_hosts(hosts);
        }
    }

    /// The next connection to the admin address that waits for Python. Does not wait for one.
    pub fn next_admin_connection(&self) -> Option<AdminConnection> {
        self.admin.lock().as_ref()?.next_connection()
    }

    /// What probes are told.
    pub fn liveness(&self) -> &Arc<Liveness> {
        &self.liveness
    }
}

fn tls_of(snapshot: &Snapshot) -> AdminTls<'_> {
    AdminTls { plan: snapshot.plan.admin.as_ref(), acceptor: snapshot.admin_tls.as_ref() }
}
