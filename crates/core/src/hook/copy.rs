//! Copies of an exchange for hooks that run outside the worker, and for the functions of authenticators.

use super::HookVisit;
use crate::exchange::Exchange;
use crate::request::forwarding;

impl Exchange {
    /// Returns a copy for hooks that run outside the worker. It takes over everything that hooks can change;
    /// [`Self::attach`] brings it back.
    #[must_use]
    pub fn detach(&mut self) -> Box<Self> {
        let mut detached = self.copy_fixed();
        detached.response.buffer.extend_from_slice(&self.response.buffer[..self.response.head.len]);
        detached.response.head.clone_from(&self.response.head);
        self.swap_mutable(&mut detached);
        detached
    }

    /// Returns a copy of the request for the function of an authenticator: what the client has sent, without the
    /// changes that are made for instances.
    #[must_use]
    pub fn copy_request(&self) -> Box<Self> {
        let mut copy = self.copy_fixed();
        copy.trace_context.hook_id = 0;
        if !copy.request.origin.peer_trusted {
            forwarding::remove_untrusted(&mut copy);
        }
        copy
    }

    /// Copies what hooks cannot change of the request.
    fn copy_fixed(&self) -> Box<Self> {
        let mut copy = Box::new(Self::new(0));
        copy.request.buffer.extend_from_slice(&self.request.buffer[..self.request.head.len]);
        copy.request.head.clone_from(&self.request.head);
        copy.request.framing = self.request.framing;
        copy.request.target.clone_from(&self.request.target);
        copy.request.host.clone_from(&self.request.host);
        copy.request.host_len = self.request.host_len;
        copy.request.origin.clone_from(&self.request.origin);
        copy.request.id.clone_from(&self.request.id);
        copy.request.params.clone_from(&self.request.params);
        copy.route = self.route;
        self.copy_member(&mut copy);
        if let Some(reserved) = self.admitted().and_then(|admitted| admitted.reserved.clone()) {
            copy.admitted_mut().reserved = Some(reserved);
        }
        if let Some(hosted) = self.hooks().and_then(|hooks| hooks.hosted.clone()) {
            copy.hook_visit().hosted = Some(hosted);
        }
        copy.trace_context = self.trace_context;
        (copy.times.started, copy.times.now, copy.times.wall) = (self.times.started, self.times.now, self.times.wall);
        copy
    }

    /// Returns a read-only copy for hooks.
    #[must_use]
    pub fn detach_snapshot(&mut self) -> Box<Self> {
        let mut copy = self.detach();
        self.swap_mutable(&mut copy);
        copy.request.forward_path.clone_from(&self.request.forward_path);
        copy.request.forward_query.clone_from(&self.request.forward_query);
        copy.request.edits.clone_from(&self.request.edits);
        copy.response.edits.clone_from(&self.response.edits);
        copy.request.user.clone_from(&self.request.user);
        copy.response.status = self.response.status;
        copy
    }

    /// Takes over what hooks have changed in a copy made by [`Self::detach`].
    pub fn attach(&mut self, detached: &mut Self) {
        if self.response.status != detached.response.status {
            self.response.head.reason = detached.response.head.reason;
        }
        self.swap_mutable(detached);
    }

    /// Swaps everything that hooks can change with `other`.
    fn swap_mutable(&mut self, other: &mut Self) {
        use std::mem::swap;
        swap(&mut self.request.forward_path, &mut other.request.forward_path);
        swap(&mut self.request.forward_query, &mut other.request.forward_query);
        swap(&mut self.request.edits, &mut other.request.edits);
        swap(&mut self.response.edits, &mut other.response.edits);
        swap(&mut self.request.user, &mut other.request.user);
        swap(&mut self.response.status, &mut other.response.status);
        self.slots.swap::<HookVisit>(&mut other.slots);
    }
}
