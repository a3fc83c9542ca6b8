//! A cache of verified credentials, and the list of revoked ones.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pylae_core::cluster::{Revocation, RevocationSet, Revoked};
use pylae_core::limit::Clocks;
use pylae_core::{Answer, User};

use super::binding::confirmation::Binding;

/// Number of shards, each with its own lock. A power of two.
const SHARDS: usize = 64;
/// Estimated maximum bytes of the verified credentials of one shard; 64 MB in total.
const VERIFIED_BYTES: usize = 1024 * 1024;
/// The same for credentials by which nobody is known, which anybody can send; 8 MB in total.
const UNKNOWN_BYTES: usize = 128 * 1024;

/// Identifies a credential: two independent keyed hashes (`SipHash` with secret keys), 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CredentialTag(u64, u64);

/// A cached credential.
pub(super) struct VerifiedCredential {
    pub(super) user: Arc<User>,
    /// When the entry expires, since the Unix epoch.
    pub(super) until: Duration,
    /// The token's `jti`.
    pub(super) id: Option<Box<str>>,
    /// The key that its sender must have.
    pub(super) binding: Option<Arc<Binding>>,
    /// What a service answers to it, if it refuses it.
    pub(super) answer: Option<Arc<Answer>>,
}

/// Whose credential it is, and the key that its sender must have: to be proven anew with every request.
pub(super) struct KnownCredential {
    pub(super) user: Arc<User>,
    pub(super) binding: Option<Arc<Binding>>,
}

/// Verified credentials and revocations. Bounded, shared by all workers, and kept across reloads.
pub(super) struct CredentialCache {
    hashers: [RandomState; 2],
    shards: Box<[PaddedCredentialShard]>,
    /// Maximum bytes of one shard.
    shard_bytes: usize,
    revoked: Mutex<RevocationSet>,
    /// Number of revocations, so that the lock is not taken while there are none.
    revocations: AtomicUsize,
    /// Counts changes of the revocations. A credential verified before the latest one is not cached, and one cached
    /// before is checked again.
    epoch: AtomicU64,
}

/// Keeps the locks of different shards on different cache lines.
#[repr(align(128))]
#[derive(Default)]
struct PaddedCredentialShard(Mutex<CredentialShard>);

#[derive(Default)]
struct CredentialShard {
    entries: HashMap<u64, CachedCredential, BuildHasherDefault<IdentityHasher>>,
    /// Keys and sizes in order of insertion. The entries of some keys may be gone.
    order: VecDeque<(u64, usize)>,
    bytes: usize,
}

struct CachedCredential {
    /// The other half of its tag.
    rest: u64,
    /// The epoch in which it was known not to be revoked.
    epoch: u64,
    credential: VerifiedCredential,
}

/// Uses the key itself as its hash: tags are hashes already.
#[derive(Default)]
pub(super) struct IdentityHasher(u64);

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

impl CredentialCache {
    /// For verified credentials.
    pub(super) fn of_verified() -> Self {
        Self::new(VERIFIED_BYTES)
    }

    /// For credentials by which nobody is known.
    pub(super) fn of_unknown() -> Self {
        Self::new(UNKNOWN_BYTES)
    }

    fn new(shard_bytes: usize) -> Self {
        Self {
            hashers: [RandomState::new(), RandomState::new()],
            shards: (0..SHARDS).map(|_| PaddedCredentialShard::default()).collect(),
            shard_bytes,
            revoked: Mutex::default(),
            revocations: AtomicUsize::new(0),
            epoch: AtomicU64::new(0),
        }
    }

    /// Returns the tag of `credential`. `salt` separates authenticators and their keys.
    pub(super) fn tag(&self, salt: u64, credential: &[u8]) -> CredentialTag {
        let hash = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            hasher.write_u64(salt);
            hasher.write(credential);
            hasher.finish()
        };
        CredentialTag(hash(&self.hashers[0]), hash(&self.hashers[1]))
    }

    /// Hashes `text` with a secret key, which stays the same until the process ends. Used as the salt of an
    /// authenticator with these settings.
    pub(super) fn salt(&self, text: &str) -> u64 {
        self.hashers[0].hash_one(text)
    }

    /// Returns whose a cached credential is that has not expired and may not have been revoked.
    #[inline]
    pub(super) fn get(&self, tag: CredentialTag, wall: Duration) -> Option<KnownCredential> {
        self.read(tag, wall, |VerifiedCredential { user, binding, .. }| KnownCredential {
            user: Arc::clone(user),
            binding: binding.clone(),
        })
    }

    /// Reads a cached credential, under the same conditions.
    #[inline]
    pub(super) fn read<T>(
        &self,
        tag: CredentialTag,
        wall: Duration,
        read: impl FnOnce(&VerifiedCredential) -> T,
    ) -> Option<T> {
        let mut shard = self.shard(tag).0.lock();
        let cached = shard.entries.get_mut(&tag.0)?;
        if cached.rest != tag.1 || wall >= cached.credential.until {
            return None;
        }
        let epoch = self.epoch();
        if cached.epoch != epoch {
            let VerifiedCredential { user, id, .. } = &cached.credential;
            // When it was issued is not known here. Whoever verifies it again knows.
            if self.is_revoked(user, id.as_deref(), None, wall) {
                return None;
            }
            cached.epoch = epoch;
        }
        Some(read(&cached.credential))
    }

    /// Returns the current epoch. Callers read it before they verify a credential and pass it to [`Self::insert`].
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Caches a credential of `bytes` bytes, unless anything was revoked since `epoch`.
    pub(super) fn insert(&self, tag: CredentialTag, credential: VerifiedCredential, bytes: usize, epoch: u64) {
        // Parsed claims take several times the size of their text.
        let cost = 4 * bytes + size_of::<(u64, CachedCredential)>() + size_of::<User>();
        let mut shard = self.shard(tag).0.lock();
        if cost > self.shard_bytes || self.epoch() != epoch {
            return;
        }
        while shard.bytes + cost > self.shard_bytes {
            let Some((oldest, freed)) = shard.order.pop_front() else { break };
            shard.entries.remove(&oldest);
            shard.bytes -= freed;
        }
        if shard.entries.insert(tag.0, CachedCredential { rest: tag.1, epoch, credential }).is_none() {
            shard.order.push_back((tag.0, cost));
            shard.bytes += cost;
        }
    }

    /// Revokes a credential for `span`. Returns false if the maximum number of revocations is reached.
    pub(super) fn revoke(&self, what: Revoked<'_>, at: Clocks, span: Duration) -> bool {
        self.change(|revoked| revoked.revoke(what.into(), at, span))
    }

    /// Adds revocations that the store has told. Returns how many of them there was no room for.
    pub(super) fn learn(&self, revocations: &[Revocation], wall: Duration) -> usize {
        self.change(|revoked| revocations.iter().filter(|one| !revoked.learn(one, wall)).count())
    }

    /// The revocations. Nothing may be added by this.
    pub(super) fn with_revocations<T>(&self, run: impl FnOnce(&mut RevocationSet) -> T) -> T {
        let mut revoked = self.revoked.lock();
        let result = run(&mut revoked);
        self.revocations.store(revoked.len(), Ordering::SeqCst);
        result
    }

    fn change<T>(&self, change: impl FnOnce(&mut RevocationSet) -> T) -> T {
        let mut revoked = self.revoked.lock();
        let result = change(&mut revoked);
        self.revocations.store(revoked.len(), Ordering::SeqCst);
        // Under the lock: the epoch stops credentials verified before, and the set stops those verified later.
        self.epoch.fetch_add(1, Ordering::SeqCst);
        result
    }

    /// Returns true if the credential was revoked. Without `issued`, it counts as issued before the revocation.
    pub(super) fn is_revoked(&self, user: &User, id: Option<&str>, issued: Option<Duration>, wall: Duration) -> bool {
        if self.revocations.load(Ordering::SeqCst) == 0 {
            return false;
        }
        let (user, id) = (Revoked::User(&user.id).into(), id.map(|id| Revoked::Token(id).into()));
        let revoked = self.revoked.lock();
        id.is_some_and(|id| revoked.covers(id, None, wall)) || revoked.covers(user, issued, wall)
    }

    fn shard(&self, tag: CredentialTag) -> &PaddedCredentialShard {
        &self.shards[(tag.1 >> 56) as usize % SHARDS]
    }

    /// Returns the number of cached credentials.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.lock().entries.len()).sum()
    }
}
