//! Names of keys in the store.

use aws_lc_rs::digest;

use crate::limit::charge::Limit;

/// Names a key in the store: a digest, because nothing that a client sends gets there in the clear.
pub type StoreKey = [u8; 16];

/// Returns the name of a key in the store, the same on all nodes. `overflow` names the shard of keys without a place.
pub(super) fn store_key(limit: &Limit, key: &[u8], overflow: Option<usize>) -> StoreKey {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&(limit.identity.len() as u64).to_le_bytes());
    context.update(limit.identity.as_bytes());
    match overflow {
        None => context.update(key),
        Some(shard) => context.update(&[b"overflow".as_slice(), &[shard as u8]].concat()),
    }
    let mut name = StoreKey::default();
    name.copy_from_slice(&context.finish().as_ref()[..size_of::<StoreKey>()]);
    name
}
