//! An instance's answer, between its head and its body.

use pylae_core::service::{AdmissionPermit, Picked};
use pylae_http::Framing;

use crate::io::clock;
use crate::io::socket::Socket;
use crate::snapshot::Service;
use crate::upstream::upload::Upload;
use crate::worker::Worker;

/// An answer whose head lies in the exchange.
pub(crate) struct UpstreamResponse {
    pub(crate) connection: Socket,
    /// The request; not sent completely if the instance answers early.
    pub(crate) upload: Upload,
    /// How the answer's body is framed.
    pub(crate) framing: Framing,
}

/// An instance's answer whose head lies in the exchange and whose body is still to be read.
pub(crate) struct Forwarded<'s> {
    pub(crate) service: &'s Service,
    pub(crate) picked: Picked<'s>,
    pub(crate) response: UpstreamResponse,
    /// Held until the answer has been relayed.
    pub(crate) permit: Option<AdmissionPermit<'s>>,
}

impl Forwarded<'_> {
    /// Parts with an answer that nobody reads. Its connection is kept if it is `sound`: nothing more comes over it.
    pub(crate) fn release(self, worker: &Worker, reusable: bool) {
        let UpstreamResponse { connection, upload, .. } = self.response;
        if reusable && upload.is_sent() {
            let (pool, plan) = (self.service.pools[self.picked.index], &self.service.plan);
            worker.pools.release(pool, connection, clock::now(), plan.idle_timeout.0, plan.max_idle);
        }
        upload.finish(&worker.buffers);
    }
}
