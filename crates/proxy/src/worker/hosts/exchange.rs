//! An exchange that a host knows.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use pylae_core::hook::flat::{Bodies, FlatMessageKind};

use super::lane::Lane;
use super::link::HostLink;

/// An exchange that a host knows. All its hooks run there.
#[derive(Debug)]
pub(crate) struct HostedExchange {
    pub(crate) link: Arc<HostLink>,
    pub(crate) key: u64,
    /// What the host has of it already.
    pub(crate) bodies: Mutex<Bodies>,
    /// False once the host has forgotten it.
    is_open: Mutex<bool>,
}

impl HostedExchange {
    pub(crate) fn new(link: Arc<HostLink>) -> Arc<Self> {
        link.exchanges.fetch_add(1, Ordering::AcqRel);
        let key = link.next_key();
        Arc::new(Self { link, key, bodies: Mutex::default(), is_open: Mutex::new(true) })
    }

    /// The host has forgotten it by itself.
    pub(crate) fn close(&self) {
        *self.is_open.lock() = false;
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.is_open.lock()
    }
}

impl Drop for HostedExchange {
    fn drop(&mut self) {
        if *self.is_open.get_mut()
            && let Some(lane) = Lane::known(&self.link)
        {
            lane.send(FlatMessageKind::End, self.key, |_| {});
        }
        self.link.exchange_over();
    }
}
