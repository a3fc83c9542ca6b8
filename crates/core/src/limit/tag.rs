//! Hashes that identify counters.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;

/// Identifies a limit and a key: two independent hashes with secret seeds, 128 bits, so that keys collide neither by
/// accident nor by intent.
pub(super) type CounterTag = [u64; 2];

/// Computes tags. Its `Debug` output hides the seeds.
#[derive(Default)]
pub(super) struct Tagger([RandomState; 2]);

impl std::fmt::Debug for Tagger {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Tagger")
    }
}

impl Tagger {
    pub(super) fn salt(&self, identity: &str) -> u64 {
        self.0[0].hash_one(identity)
    }

    pub(super) fn tag(&self, salt: u64, key: &[u8]) -> CounterTag {
        self.0.each_ref().map(|state| {
            let mut hasher = state.build_hasher();
            hasher.write_u64(salt);
            hasher.write(key);
            hasher.finish()
        })
    }
}
