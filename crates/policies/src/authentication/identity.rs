//! What authenticators know beyond their settings.

use std::sync::OnceLock;
use std::time::Duration;

use super::key_set::{Background, KeySets};
use super::memory::{CredentialCache, Revoked};

/// Kept over reloads, shared by all workers.
#[derive(Default)]
pub struct Identity {
    pub(super) memory: CredentialCache,
    pub(super) key_sets: KeySets,
    background: OnceLock<Box<dyn Background>>,
}

impl Identity {
    /// Says who does what must be done outside the workers. To be called once, before any plan is built.
    pub fn set_background(&self, background: Box<dyn Background>) {
        let _ = self.background.set(background);
    }

    /// Refuses a credential from now on, for `span`; `wall` is the time since the Unix epoch. False if there are too
    /// many revocations to add one.
    pub fn revoke(&self, what: Revoked<'_>, wall: Duration, span: Duration) -> bool {
        self.memory.revoke(what, wall, span)
    }

    pub(super) fn background(&self) -> Option<&dyn Background> {
        self.background.get().map(AsRef::as_ref)
    }
}
