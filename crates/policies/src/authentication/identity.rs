//! State of authenticators besides their settings.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use aws_lc_rs::rand;
use pylae_core::cluster::{Revocation, RevocationSet, Revoked};
use pylae_core::limit::Clocks;
use pylae_core::request::session::NoSessionCounts;

use super::binding::replay::ProofMemory;
use super::key_set::{Background, KeySets};
use super::memory::CredentialCache;

/// Verified credentials, revocations and fetched keys. Survives reloads and is shared by all workers.
pub struct Identity {
    pub(super) memory: CredentialCache,
    /// Credentials by which functions know nobody.
    pub(super) unknown: CredentialCache,
    pub(super) key_sets: KeySets,
    /// Cookies of sessions that counted as none.
    pub(super) no_sessions: NoSessionCounts,
    /// Proofs that were used.
    pub(super) proofs: ProofMemory,
    nonce_secret: OnceLock<[u8; 32]>,
    background: OnceLock<Box<dyn Background>>,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            memory: CredentialCache::of_verified(),
            unknown: CredentialCache::of_unknown(),
            key_sets: KeySets::default(),
            no_sessions: NoSessionCounts::default(),
            proofs: ProofMemory::default(),
            nonce_secret: OnceLock::new(),
            background: OnceLock::new(),
        }
    }
}

impl Identity {
    /// Sets what runs work outside the workers. Must be called once, before any plan is built.
    pub fn set_background(&self, background: Box<dyn Background>) {
        let _ = self.background.set(background);
    }

    /// Revokes a credential for `span` from now on. Returns false if the maximum number of revocations is reached.
    pub fn revoke(&self, what: Revoked<'_>, at: Clocks, span: Duration) -> bool {
        self.memory.revoke(what, at, span)
    }

    /// Adds revocations of other nodes. Returns how many of them there was no room for.
    pub fn learn(&self, revocations: &[Revocation], wall: Duration) -> usize {
        self.memory.learn(revocations, wall)
    }

    /// Runs `run` with the revocations, which are locked meanwhile. It may not revoke anything.
    pub fn with_revocations<T>(&self, run: impl FnOnce(&mut RevocationSet) -> T) -> T {
        self.memory.with_revocations(run)
    }

    /// How many cookies of sessions counted as none, by reason.
    pub fn no_sessions(&self) -> BTreeMap<&'static str, u64> {
        self.no_sessions.all()
    }

    /// Returns what nonces are made with, the same until the process ends; None if there is no randomness.
    pub(super) fn nonce_secret(&self) -> Option<&[u8]> {
        if self.nonce_secret.get().is_none() {
            let mut secret = [0; 32];
            rand::fill(&mut secret).ok()?;
            // Fails if another thread was faster.
            let _ = self.nonce_secret.set(secret);
        }
        self.nonce_secret.get().map(<[u8; 32]>::as_slice)
    }

    pub(super) fn background(&self) -> Option<&dyn Background> {
        self.background.get().map(AsRef::as_ref)
    }
}
