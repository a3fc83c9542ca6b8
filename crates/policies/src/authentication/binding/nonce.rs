//! Nonces for proofs (RFC 9449 section 8): each is good for a window of time, and nothing is kept of them.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// How long a nonce is handed out. It is good for as long again.
const WINDOW: u64 = 60;
/// Bytes of a nonce before they are encoded.
const LENGTH: usize = 16;

/// Whether a proof has a nonce that is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NonceAge {
    /// Of this window, or of the next one on a node whose clock is ahead.
    Current,
    /// Of the window before.
    Previous,
    /// None, or not one of ours, or too old.
    Unknown,
}

/// Makes nonces, and knows them again.
pub(super) struct Nonces(hmac::Key);

impl Nonces {
    pub(super) fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// Returns the nonce of now, in base64url.
    pub(super) fn current(&self, wall: Duration) -> String {
        self.of(wall.as_secs() / WINDOW)
    }

    pub(super) fn age(&self, nonce: Option<&str>, wall: Duration) -> NonceAge {
        let Some(nonce) = nonce else { return NonceAge::Unknown };
        let window = wall.as_secs() / WINDOW;
        let is_of = |window| verify_slices_are_equal(self.of(window).as_bytes(), nonce.as_bytes()).is_ok();
        if is_of(window) || is_of(window + 1) {
            NonceAge::Current
        } else if is_of(window.saturating_sub(1)) {
            NonceAge::Previous
        } else {
            NonceAge::Unknown
        }
    }

    fn of(&self, window: u64) -> String {
        let message = [&b"DPoP-Nonce"[..], &window.to_be_bytes()].concat();
        URL_SAFE_NO_PAD.encode(&hmac::sign(&self.0, &message).as_ref()[..LENGTH])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_in_its_window_and_the_next() {
        let nonces = Nonces::new(b"secret");
        let at = Duration::from_secs;
        let nonce = nonces.current(at(6000));
        for (second, age) in [
            (5939, NonceAge::Unknown),
            (5940, NonceAge::Current),
            (6000, NonceAge::Current),
            (6059, NonceAge::Current),
            (6060, NonceAge::Previous),
            (6119, NonceAge::Previous),
            (6120, NonceAge::Unknown),
        ] {
            assert_eq!(nonces.age(Some(&nonce), at(second)), age, "{second}");
        }
        assert_eq!(nonces.age(None, at(6000)), NonceAge::Unknown);
        assert_eq!(nonces.age(Some(&nonce[1..]), at(6000)), NonceAge::Unknown);
        assert_eq!(Nonces::new(b"another").age(Some(&nonce), at(6000)), NonceAge::Unknown);
        assert_eq!(Nonces::new(b"secret").age(Some(&nonce), at(6000)), NonceAge::Current);
    }
}
