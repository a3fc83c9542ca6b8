//! Names of keys in the store.

use aws_lc_rs::digest;

use crate::limit::charge::Limit;

/// Names a key in the store: a digest, because nothing that a client sends gets there in the clear.
pub type StoreKey = [u8; 16];

/// Returns the name of a key in the store, the same on all nodes. `overflow` names the shard of keys without a place.
pub(super) fn store_key(limit: &Limit, key: &[u8], overflow: Option<usize>) -> StoreKey {
    match overflow {
        None => name_of(&limit.identity, key),
        Some(shard) => name_of(&limit.identity, &[b"overflow".as_slice(), &[shard as u8]].concat()),
    }
}

/// Returns the name of a key of the limit with this identity.
pub(in crate::limit) fn name_of(identity: &str, key: &[u8]) -> StoreKey {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&(identity.len() as u64).to_le_bytes());
    context.update(identity.as_bytes());
    context.update(key);
    let mut name = StoreKey::default();
    name.copy_from_slice(&context.finish().as_ref()[..size_of::<StoreKey>()]);
    name
}
