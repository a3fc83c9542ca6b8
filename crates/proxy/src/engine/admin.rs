//! The admin address of a running engine.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::Engine;
use crate::background::admin::{AdminEdge, AdminSettings};
use crate::telemetry::liveness::Liveness;

impl Engine {
    /// Serves the admin address, whose socket listens, until the end of the stop. Returns a descriptor that is readable
    /// while connections wait for Python.
    pub fn serve_admin(&self, listening: OwnedFd, settings: AdminSettings) -> io::Result<OwnedFd> {
        let mut admin = self.admin.lock();
        if self.liveness.is_stopping() {
            return Err(io::Error::other("the gateway stops"));
        }
        let edge = AdminEdge::start(listening, settings, Arc::clone(&self.liveness), Arc::clone(self.log()))?;
        let watched = edge.watched()?;
        *admin = Some(edge);
        Ok(watched)
    }

    /// Replaces the names besides the loopback ones that the admin address may be asked for under.
    pub fn set_admin_hosts(&self, hosts: Vec<String>) {
        if let Some(edge) = &*self.admin.lock() {
            edge.set_hosts(hosts);
        }
    }

    /// The next connection to the admin address that waits for Python. Does not wait for one.
    pub fn next_admin_connection(&self) -> Option<OwnedFd> {
        self.admin.lock().as_ref()?.next_connection()
    }

    /// What probes are told.
    pub fn liveness(&self) -> &Arc<Liveness> {
        &self.liveness
    }
}
