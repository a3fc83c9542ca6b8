//! Tables of known keys without collisions. The compiler finds them, so that a new key needs only its line in a list.

/// The most bits of a place.
const MOST_BITS: u32 = 9;

/// The place of a key in a table of 2 to the power of `bits`.
#[inline]
pub(crate) const fn slot(key: u32, multiplier: u32, bits: u32) -> usize {
    (key.wrapping_mul(multiplier) >> (32 - bits)) as usize
}

/// Finds a multiplier with which each of these keys has a place of its own. Equal keys that follow each other have the
/// same.
pub(crate) const fn multiplier<const N: usize>(keys: &[u32; N], bits: u32) -> u32 {
    let mut candidate: u32 = 0x9E37_79B1;
    let mut tries = 0;
    while !is_free_of_collisions(keys, candidate, bits) {
        assert!(tries < 4000, "two names have the same key");
        tries += 1;
        candidate = candidate.wrapping_mul(0x0019_660D).wrapping_add(0x3C6E_F35F) | 1;
    }
    candidate
}

const fn is_free_of_collisions<const N: usize>(keys: &[u32; N], multiplier: u32, bits: u32) -> bool {
    let mut taken = [false; 1 << MOST_BITS];
    let mut i = 0;
    while i < N {
        if i == 0 || keys[i] != keys[i - 1] {
            let at = slot(keys[i], multiplier, bits);
            if taken[at] {
                return false;
            }
            taken[at] = true;
        }
        i += 1;
    }
    true
}
