//! Which proofs were used: none is good twice (RFC 9449 section 11.1).

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::time::Duration;

use parking_lot::Mutex;

use super::confirmation::Thumbprint;
use crate::authentication::memory::IdentityHasher;

/// Number of shards, each with its own lock. A power of two.
const SHARDS: usize = 16;
/// Most proofs that one shard remembers: a million in total, in about 32 MB.
const MOST: usize = (1 << 20) / SHARDS;

/// Whether a proof was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProofUse {
    First,
    Again,
    /// Nobody can tell: no more proofs can be remembered.
    Full,
}

/// The proofs of the time in which they can be used. Bounded, shared by all workers, and kept across reloads. A proof
/// is known by 64 bits of a keyed hash: two that have the same (one of 10¹³ does) are taken for one, and the second is
/// refused. What is remembered is never forgotten early.
pub(crate) struct ProofMemory {
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
    most: usize,
}

#[derive(Default)]
struct Shard {
    used: HashSet<u64, BuildHasherDefault<IdentityHasher>>,
    /// The proofs by the second after which they cannot be used any more.
    ends: BTreeMap<u64, Vec<u64>>,
}

impl Default for ProofMemory {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shards: Default::default(), most: MOST }
    }
}

impl ProofMemory {
    /// Uses the proof `id` of a key, which is good until `until`; both times since the Unix epoch.
    pub(super) fn use_up(&self, key: &Thumbprint, id: &str, until: Duration, wall: Duration) -> ProofUse {
        let tag = self.tag(key, id);
        let mut shard = self.shard(tag).lock();
        while let Some(first) = shard.ends.first_entry().filter(|end| *end.key() < wall.as_secs()) {
            for ended in first.remove() {
                shard.used.remove(&ended);
            }
        }
        if shard.used.contains(&tag) {
            return ProofUse::Again;
        }
        if shard.used.len() >= self.most {
            return ProofUse::Full;
        }
        shard.used.insert(tag);
        shard.ends.entry(until.as_secs()).or_default().push(tag);
        ProofUse::First
    }

    /// Returns what `use_up` would, and uses nothing up.
    pub(super) fn look_up(&self, key: &Thumbprint, id: &str) -> ProofUse {
        let tag = self.tag(key, id);
        if self.shard(tag).lock().used.contains(&tag) { ProofUse::Again } else { ProofUse::First }
    }

    fn tag(&self, key: &Thumbprint, id: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        hasher.write(id.as_bytes());
        hasher.finish()
    }

    fn shard(&self, tag: u64) -> &Mutex<Shard> {
        &self.shards[(tag >> 32) as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Thumbprint = [7; 32];

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_proof_is_used_once_by_each_key() {
        let memory = ProofMemory::default();
        assert_eq!(memory.look_up(&KEY, "a"), ProofUse::First);
        assert_eq!(memory.use_up(&KEY, "a", at(90), at(0)), ProofUse::First);
        assert_eq!(memory.look_up(&KEY, "a"), ProofUse::Again);
        assert_eq!(memory.use_up(&KEY, "a", at(90), at(90)), ProofUse::Again);
        assert_eq!(memory.use_up(&KEY, "b", at(90), at(0)), ProofUse::First);
        assert_eq!(memory.use_up(&[8; 32], "a", at(90), at(0)), ProofUse::First);
    }

    #[test]
    fn what_is_over_makes_room_and_nothing_else_does() {
        let memory = ProofMemory { most: 4, ..ProofMemory::default() };
        let used = |from: u64, until: u64, wall: u64| {
            let uses = (from..from + 200).map(|id| memory.use_up(&KEY, &id.to_string(), at(until), at(wall)));
            uses.filter(|found| *found == ProofUse::First).count()
        };
        assert_eq!(used(0, 90, 0), 4 * SHARDS);
        assert_eq!(used(1000, 100, 90), 0);
        assert_eq!(used(1000, 100, 91), 4 * SHARDS);
        let kept: usize = memory.shards.iter().map(|shard| shard.lock().used.len()).sum();
        assert_eq!(kept, 4 * SHARDS);
        assert!(memory.shards.iter().all(|shard| shard.lock().ends.len() == 1));
    }
}
