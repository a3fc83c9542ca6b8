//! What stands for a limit and a key.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;

/// What stands for a limit and a key: two independent hashes with secret seeds, 128 bits, so that keys don't meet by
/// accident and can't be made to.
pub(super) type CounterTag = [u64; 2];

/// Makes tags. Without `Debug` output of the seeds.
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
