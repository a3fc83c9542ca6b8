//! Seals small texts that others keep for the gateway, such as cookies: nobody else can read, change or make one.
//!
//! A sealed text is `v1.KEY.DATA`: the id of the key, and in base64url the nonce and what AES-256-GCM (NIST SP 800-38D)
//! has made of it. Keys are derived by HKDF-SHA256 (RFC 5869) from a secret and a purpose. The purpose, the version and
//! the id are authenticated too, so a text for one purpose does not open for another one.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Most bytes that can be sealed.
pub const MAX_PLAIN: usize = 64 * 1024;
/// Fewest bytes of a secret.
pub const MIN_SECRET: usize = 32;
/// Most secrets of one sealer.
pub const MAX_SECRETS: usize = 16;
const VERSION: &str = "v1";
/// Separates these keys from others that are derived from the same secret.
const SALT: &[u8] = b"pylae sealer v1";
/// Length of a key's id in a text: 48 bits.
const ID_LEN: usize = 8;
/// Longest sealed text, in bytes.
const MAX_TEXT: usize = VERSION.len() + 1 + ID_LEN + 1 + (NONCE_LEN + MAX_PLAIN + MAX_TAG_LEN).div_ceil(3) * 4;

/// Why there is no sealer with these secrets, or no sealed text of these bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There is no secret, or there are too many.
    #[error("between 1 and 16 secrets are needed")]
    Secrets,
    /// A secret is too short.
    #[error("a secret needs at least 32 bytes")]
    Short,
    /// There is too much to seal.
    #[error("at most 65536 bytes can be sealed")]
    TooLong,
    /// The operating system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

/// Why a sealed text does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// It is no sealed text.
    Malformed,
    /// None of the secrets is the one that it was sealed with.
    UnknownKey,
    /// It was changed, cut off, or sealed for another purpose.
    Forged,
}

/// The secrets. The first one seals; what any of them has sealed opens, so that they can be replaced one by one.
pub struct Sealer(Vec<SealingSecret>);

struct SealingSecret {
    id: String,
    key: Prk,
}

/// A sealer for one purpose.
pub struct PurposeSealer {
    purpose: Box<str>,
    keys: Vec<(String, LessSafeKey)>,
}

impl Sealer {
    /// Secrets must be random: they are not stretched.
    pub fn new<S: AsRef<[u8]>>(secrets: &[S]) -> Result<Self, SealError> {
        if secrets.is_empty() || secrets.len() > MAX_SECRETS {
            return Err(SealError::Secrets);
        }
        let salt = Salt::new(HKDF_SHA256, SALT);
        let secret = |secret: &S| {
            let secret = secret.as_ref();
            if secret.len() < MIN_SECRET {
                return Err(SealError::Short);
            }
            let key = salt.extract(secret);
            let mut id = [0; ID_LEN / 4 * 3];
            // Cannot fail: so few bytes can always be derived.
            let derived = key.expand(&[b"id"], KeyId).and_then(|derived| derived.fill(&mut id));
            derived.map_err(|Unspecified| SealError::Random)?;
            Ok(SealingSecret { id: URL_SAFE_NO_PAD.encode(id), key })
        };
        secrets.iter().map(secret).collect::<Result<_, _>>().map(Self)
    }

    /// Derives the keys for a purpose.
    pub fn for_purpose(&self, purpose: &str) -> Result<PurposeSealer, SealError> {
        let derive = |secret: &SealingSecret| {
            let derived = secret.key.expand(&[b"purpose ", purpose.as_bytes()], &AES_256_GCM).map(UnboundKey::from);
            derived.map(|key| (secret.id.clone(), LessSafeKey::new(key)))
        };
        let keys = self.0.iter().map(derive).collect::<Result<_, _>>();
        // Cannot fail: the length of a key can always be derived.
        keys.map(|keys| PurposeSealer { purpose: purpose.into(), keys }).map_err(|Unspecified| SealError::Random)
    }
}

impl PurposeSealer {
    /// Seals `plain` with the first secret. The same bytes never give the same text.
    pub fn seal(&self, plain: &[u8]) -> Result<String, SealError> {
        if plain.len() > MAX_PLAIN {
            return Err(SealError::TooLong);
        }
        let (id, key) = self.keys.first().ok_or(SealError::Secrets)?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|Unspecified| SealError::Random)?;
        let mut data = Vec::with_capacity(NONCE_LEN + plain.len() + MAX_TAG_LEN);
        data.extend_from_slice(&nonce);
        data.extend_from_slice(plain);
        let sealed = Nonce::assume_unique_for_key(nonce);
        let tag = key.seal_in_place_separate_tag(sealed, self.bound(id), &mut data[NONCE_LEN..]);
        data.extend_from_slice(tag.map_err(|Unspecified| SealError::TooLong)?.as_ref());
        let mut text = format!("{VERSION}.{id}.");
        URL_SAFE_NO_PAD.encode_string(data, &mut text);
        Ok(text)
    }

    /// Returns what was sealed.
    pub fn open(&self, text: &[u8]) -> Result<Vec<u8>, OpenError> {
        if text.len() > MAX_TEXT {
            return Err(OpenError::Malformed);
        }
        let rest = text.strip_prefix(VERSION.as_bytes()).and_then(|rest| rest.strip_prefix(b"."));
        let (id, rest) = rest.and_then(|rest| rest.split_at_checked(ID_LEN)).ok_or(OpenError::Malformed)?;
        let data = rest.strip_prefix(b".").and_then(|data| URL_SAFE_NO_PAD.decode(data).ok());
        let data = data.ok_or(OpenError::Malformed)?;
        let (nonce, sealed) = data.split_first_chunk::<NONCE_LEN>().ok_or(OpenError::Malformed)?;
        let mut why = OpenError::UnknownKey;
        for (known, key) in self.keys.iter().filter(|(known, _)| known.as_bytes() == id) {
            let mut plain = sealed.to_vec();
            let nonce = Nonce::assume_unique_for_key(*nonce);
            match key.open_in_place(nonce, self.bound(known), &mut plain).map(|plain| plain.len()) {
                Ok(len) => {
                    plain.truncate(len);
                    return Ok(plain);
                }
                Err(Unspecified) => why = OpenError::Forged,
            }
        }
        Err(why)
    }

    /// What a text is bound to besides its key.
    fn bound(&self, id: &str) -> Aad<Vec<u8>> {
        Aad::from([VERSION, ".", id, ".", &self.purpose].concat().into_bytes())
    }
}

/// The length of a key's id.
struct KeyId;

impl KeyType for KeyId {
    fn len(&self) -> usize {
        ID_LEN / 4 * 3
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: [u8; 32] = [7; 32];
    const NEW: [u8; 40] = [8; 40];

    fn sealer(secrets: &[&[u8]], purpose: &str) -> PurposeSealer {
        Sealer::new(secrets).unwrap().for_purpose(purpose).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_once_more() {
        let own = sealer(&[&NEW], "session a");
        let texts: Vec<String> = (0..2).map(|_| own.seal(b"who").unwrap()).collect();
        assert_ne!(texts[0], texts[1]);
        for text in &texts {
            assert_eq!(own.open(text.as_bytes()), Ok(b"who".to_vec()));
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)), "{text}");
        }
        assert_eq!(own.open(own.seal(b"").unwrap().as_bytes()), Ok(Vec::new()));
    }

    #[test]
    fn the_first_secret_seals_and_all_open() {
        let (old, new, both) = (sealer(&[&OLD], "p"), sealer(&[&NEW], "p"), sealer(&[&NEW, &OLD], "p"));
        let (by_old, by_both) = (old.seal(b"x").unwrap(), both.seal(b"x").unwrap());
        assert_eq!(both.open(by_old.as_bytes()), Ok(b"x".to_vec()));
        assert_eq!(new.open(by_both.as_bytes()), Ok(b"x".to_vec()));
        assert_eq!(new.open(by_old.as_bytes()), Err(OpenError::UnknownKey));
        assert_eq!(old.open(by_both.as_bytes()), Err(OpenError::UnknownKey));
    }

    #[test]
    fn other_purposes_and_ids_are_refused() {
        let (session, attempt) = (sealer(&[&OLD, &NEW], "session a"), sealer(&[&OLD, &NEW], "attempt a"));
        let text = session.seal(b"x").unwrap();
        assert_eq!(attempt.open(text.as_bytes()), Err(OpenError::Forged));
        // Under the id of the other secret.
        let other = sealer(&[&NEW], "session a").seal(b"x").unwrap();
        let moved = format!("{}{}", &other[..12], &text[12..]);
        assert_eq!(session.open(moved.as_bytes()), Err(OpenError::Forged));
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let own = sealer(&[&OLD], "p");
        let longest = vec![b'x'; MAX_PLAIN];
        let text = own.seal(&longest).unwrap();
        assert!(text.len() <= MAX_TEXT);
        assert_eq!(own.open(text.as_bytes()), Ok(longest.clone()));
        assert_eq!(own.seal(&[longest, vec![0]].concat()), Err(SealError::TooLong));
        assert_eq!(own.open(&vec![b'A'; MAX_TEXT + 1]), Err(OpenError::Malformed));
    }

    #[test]
    fn weak_secrets_are_refused() {
        let made = |secrets: &[&[u8]]| Sealer::new(secrets).map(|_| ());
        assert_eq!(made(&[]), Err(SealError::Secrets));
        assert_eq!(made(&[&OLD[..]; 17]), Err(SealError::Secrets));
        assert_eq!(made(&[&OLD, &OLD[1..]]), Err(SealError::Short));
        assert_eq!(made(&[&OLD[..]; 16]), Ok(()));
    }

    #[test]
    fn any_changed_bit_and_any_lost_byte_is_refused() {
        let own = sealer(&[&OLD, &NEW], "session a");
        let text = own.seal(b"{\"i\":\"0123456789\",\"x\":1}").unwrap().into_bytes();
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut changed = text.clone();
                changed[at] ^= 1 << bit;
                assert!(own.open(&changed).is_err(), "bit {bit} of byte {at}");
            }
            assert!(own.open(&text[..at]).is_err(), "cut off at {at}");
            assert!(own.open(&text[at + 1..]).is_err(), "without its first {at}");
            assert!(own.open(&[&text[..at], &text[at + 1..]].concat()).is_err(), "without byte {at}");
        }
        for more in [&b"A"[..], b"=", b".", b" ", b"AAAA"] {
            assert!(own.open(&[&text, more].concat()).is_err());
        }
    }

    proptest! {
        /// Whatever is sealed opens with the same secret and purpose only.
        #[test]
        fn only_the_same_secret_and_purpose_open(
            secret in proptest::collection::vec(any::<u8>(), 32..64),
            other in proptest::collection::vec(any::<u8>(), 32..64),
            purpose in ".{0,12}",
            another in ".{0,12}",
            plain in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            prop_assume!(secret != other && purpose != another);
            let own = sealer(&[&secret], &purpose);
            let text = own.seal(&plain).unwrap().into_bytes();
            prop_assert_eq!(own.open(&text), Ok(plain));
            prop_assert_eq!(sealer(&[&secret], &another).open(&text), Err(OpenError::Forged));
            prop_assert_eq!(sealer(&[&other], &purpose).open(&text), Err(OpenError::UnknownKey));
        }

        /// Nothing that others make opens, and nothing panics.
        #[test]
        fn made_up_texts_do_not_open(text in "(v1)?[.]?[A-Za-z0-9_-]{0,8}[.]?[A-Za-z0-9_-]{0,90}=?") {
            prop_assert!(sealer(&[&OLD], "p").open(text.as_bytes()).is_err());
        }
    }
}
