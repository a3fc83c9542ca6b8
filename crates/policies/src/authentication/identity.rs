//! State of authenticators besides their settings.

use std::sync::OnceLock;
use std::time::Duration;

use super::key_set::{Background, KeySets};
use super::memory::{CredentialCache, Revoked};

/// Verified credentials, revocations and fetched keys. Survives reloads and is shared by all workers.
pub struct Identity {
    pub(super) memory: CredentialCache,
    /// Credentials by which functions know nobody.
    pub(super) unknown: CredentialCache,
    pub(super) key_sets: KeySets,
    background: OnceLock<Box<dyn Background>>,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            memory: CredentialCache::of_verified(),
            unknown: CredentialCache::of_unknown(),
            key_sets: KeySets::default(),
            background: OnceLock::new(),
        }
    }
}

impl Identity {
    /// Sets what runs work outside the workers. Must be called once, before any plan is built.
    pub fn set_background(&self, background: Box<dyn Background>) {
        let _ = self.background.set(background);
    }

    /// Revokes a credential for `span` from `wall`, the time since the Unix epoch. Returns false if the maximum number
    /// of revocations is reached.
    pub fn revoke(&self, what: Revoked<'_>, wall: Duration, span: Duration) -> bool {
        self.memory.revoke(what, wall, span)
    }

    pub(super) fn background(&self) -> Option<&dyn Background> {
        self.background.get().map(AsRef::as_ref)
    }
}
