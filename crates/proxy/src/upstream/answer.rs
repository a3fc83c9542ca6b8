//! An instance's response after its head was read.

use pylae_core::service::{AdmissionPermit, Picked};
use pylae_http::Framing;

use crate::io::clock;
use crate::io::socket::Socket;
use crate::snapshot::Service;
use crate::upstream::upload::Upload;
use crate::worker::Worker;

/// A response whose head is in the exchange.
pub(crate) struct UpstreamResponse {
    pub(crate) connection: Socket,
    /// The request, which is not sent completely if the instance responded early.
    pub(crate) upload: Upload,
    /// The framing of the response body.
    pub(crate) framing: Framing,
}

/// A response with the service and instance that it came from. Its body is still to be read.
pub(crate) struct Forwarded<'s> {
    pub(crate) service: &'s Service,
    pub(crate) picked: Picked<'s>,
    pub(crate) response: UpstreamResponse,
    /// The admission permit, held until the response is relayed.
    pub(crate) permit: Option<AdmissionPermit<'s>>,
}

impl Forwarded<'_> {
    /// Drops a response without reading its body. Returns its connection to the pool if it is `reusable`.
    pub(crate) fn release(self, worker: &Worker, reusable: bool) {
        let UpstreamResponse { connection, upload, .. } = self.response;
        if reusable && upload.is_sent() {
            let (pool, plan) = (self.service.pools[self.picked.index], &self.service.plan);
            worker.pools.release(pool, connection, clock::now(), plan.idle_timeout.0, plan.max_idle);
        }
        upload.finish(&worker.buffers);
    }
}
