//! Credentials that were verified, so that the same one is not verified again, and those that were revoked.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pylae_core::User;

/// Parts of the memory, each behind a lock of its own. A power of two.
const SHARDS: usize = 64;
/// Bytes that the entries of one shard may take, by estimate: 64 MB in all.
const SHARD_BYTES: usize = 1024 * 1024;
/// Revocations that are kept; more are refused, because forgetting one would let its credential in again.
const MAX_REVOCATIONS: usize = 100_000;

/// What stands for a credential: two independent keyed hashes (`SipHash` with secret keys), 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CredentialTag(u64, u64);

/// A credential that is remembered.
pub(super) struct VerifiedCredential {
    pub(super) user: Arc<User>,
    /// Since the Unix epoch.
    pub(super) until: Duration,
    /// The token's `jti`.
    pub(super) id: Option<Box<str>>,
}

/// What may be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked<'a> {
    /// The token with this `jti`.
    Token(&'a str),
    /// Everything issued to this user so far.
    User(&'a str),
}

/// Verified credentials and revocations. Shared by all workers, bounded, and kept over reloads.
pub(super) struct CredentialCache {
    hashers: [RandomState; 2],
    shards: Box<[PaddedCredentialShard]>,
    revoked: Mutex<Revocations>,
    /// Number of revocations kept, so that nobody takes the lock while there are none.
    revocations: AtomicUsize,
    /// Revocations made so far: what was verified before the last one is not remembered.
    epoch: AtomicU64,
}

/// Keeps the locks of different shards on different cache lines.
#[repr(align(128))]
#[derive(Default)]
struct PaddedCredentialShard(Mutex<CredentialShard>);

#[derive(Default)]
struct CredentialShard {
    entries: HashMap<u64, (u64, VerifiedCredential), BuildHasherDefault<IdentityHasher>>,
    /// Keys in the order in which they came, possibly of entries that are gone.
    order: VecDeque<(u64, usize)>,
    bytes: usize,
}

/// Takes a tag, which is a hash already, as it is.
#[derive(Default)]
struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[derive(Default)]
struct Revocations {
    /// Until when, since the Unix epoch.
    tokens: HashMap<Box<str>, Duration>,
    /// When they were revoked, and until when that is kept.
    users: HashMap<Box<str>, (Duration, Duration)>,
}

impl Default for CredentialCache {
    fn default() -> Self {
        Self {
            hashers: [RandomState::new(), RandomState::new()],
            shards: (0..SHARDS).map(|_| PaddedCredentialShard::default()).collect(),
            revoked: Mutex::default(),
            revocations: AtomicUsize::new(0),
            epoch: AtomicU64::new(0),
        }
    }
}

impl CredentialCache {
    /// What stands for `credential` as an authenticator sees it: `salt` tells authenticators and their keys apart.
    pub(super) fn tag(&self, salt: u64, credential: &[u8]) -> CredentialTag {
        let hash = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            hasher.write_u64(salt);
            hasher.write(credential);
            hasher.finish()
        };
        CredentialTag(hash(&self.hashers[0]), hash(&self.hashers[1]))
    }

    /// A number that stands for `text` and that nobody outside can apply_preview, the same until the gateway stops: the
    /// salt of an authenticator with such settings.
    pub(super) fn salt(&self, text: &str) -> u64 {
        self.hashers[0].hash_one(text)
    }

    /// Whom the credential belongs to, if it is remembered and still good.
    #[inline]
    pub(super) fn get(&self, tag: CredentialTag, wall: Duration) -> Option<Arc<User>> {
        let shard = self.shard(tag).0.lock();
        let (rest, entry) = shard.entries.get(&tag.0)?;
        (*rest == tag.1 && wall < entry.until).then(|| Arc::clone(&entry.user))
    }

    /// To be asked before a credential is verified, and handed to [`Self::insert`] afterwards.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Remembers a credential that took `bytes`, unless something was revoked since `epoch`.
    pub(super) fn insert(&self, tag: CredentialTag, entry: VerifiedCredential, bytes: usize, epoch: u64) {
        // Parsed claims take several times their text.
        let cost = 4 * bytes + size_of::<(u64, u64, VerifiedCredential)>() + size_of::<User>();
        let mut shard = self.shard(tag).0.lock();
        if cost > SHARD_BYTES || self.epoch() != epoch {
            return;
        }
        while shard.bytes + cost > SHARD_BYTES {
            let Some((oldest, freed)) = shard.order.pop_front() else { break };
            shard.entries.remove(&oldest);
            shard.bytes -= freed;
        }
        if shard.entries.insert(tag.0, (tag.1, entry)).is_none() {
            shard.order.push_back((tag.0, cost));
            shard.bytes += cost;
        }
    }

    /// Refuses a credential from now on, for `span`. False if there are too many revocations to add one.
    pub(super) fn revoke(&self, what: Revoked<'_>, wall: Duration, span: Duration) -> bool {
        let until = wall.saturating_add(span);
        {
            let mut revoked = self.revoked.lock();
            if revoked.len() >= MAX_REVOCATIONS {
                revoked.tokens.retain(|_, until| *until > wall);
                revoked.users.retain(|_, (_, until)| *until > wall);
            }
            if revoked.len() >= MAX_REVOCATIONS {
                return false;
            }
            match what {
                Revoked::Token(id) => drop(revoked.tokens.insert(id.into(), until)),
                Revoked::User(id) => drop(revoked.users.insert(id.into(), (wall, until))),
            }
            self.revocations.store(revoked.len(), Ordering::SeqCst);
            // Under the lock: whoever verified before is seen by the epoch, whoever verifies later by the list.
            self.epoch.fetch_add(1, Ordering::SeqCst);
        }
        for shard in &self.shards {
            shard.0.lock().entries.retain(|_, (_, entry)| match what {
                Revoked::Token(id) => entry.id.as_deref() != Some(id),
                Revoked::User(id) => entry.user.id != id,
            });
        }
        true
    }

    /// Whether a credential of this user was revoked. Without `issued`, it counts as issued before.
    pub(super) fn is_revoked(&self, user: &User, id: Option<&str>, issued: Option<Duration>, wall: Duration) -> bool {
        if self.revocations.load(Ordering::SeqCst) == 0 {
            return false;
        }
        let revoked = self.revoked.lock();
        id.and_then(|id| revoked.tokens.get(id)).is_some_and(|until| wall < *until)
            || revoked.users.get(user.id.as_str()).is_some_and(|(since, until)| {
                wall < *until && issued.is_none_or(|issued| issued.as_secs() <= since.as_secs())
            })
    }

    fn shard(&self, tag: CredentialTag) -> &PaddedCredentialShard {
        &self.shards[(tag.1 >> 56) as usize % SHARDS]
    }

    /// Entries held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.lock().entries.len()).sum()
    }
}

impl Revocations {
    fn len(&self) -> usize {
        self.tokens.len() + self.users.len()
    }
}
