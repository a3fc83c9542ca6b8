//! The examples of RFC 9449.

use std::time::Duration;

use super::{Expected, Mismatch, Proof, Thumbprint, verify};
use crate::authentication::keys::{SignatureAlgorithm, decode_base64url};

/// Section 7.1: a proof for a resource, and its token.
const WITH_TOKEN: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0Vj\
NoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6I\
lAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN\
0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yR\
qzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
/// Section 4.1: a proof for the token endpoint, which has no `ath`.
const WITHOUT_TOKEN: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0Vj\
NoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6I\
lAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwi\
aWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
const ISSUED: u64 = 1_562_262_618;

/// Section 6.1.
fn key() -> Thumbprint {
    decode_base64url("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I").unwrap().try_into().unwrap()
}

fn expected(key: &Thumbprint) -> Expected<'_> {
    Expected {
        key,
        token: TOKEN.as_bytes(),
        method: b"GET",
        address: Some(b"https://resource.example.org/protectedresource"),
        algorithms: &[SignatureAlgorithm::ES256],
        oldest: Duration::from_secs(ISSUED - 60),
        newest: Duration::from_secs(ISSUED + 30),
    }
}

#[test]
fn the_example_of_section_7_1_fits_and_no_character_of_it_may_differ() {
    let key = key();
    let proof = Proof { id: "e1j3V_bKic8-LAEB".into(), nonce: None, issued: Duration::from_secs(ISSUED) };
    assert_eq!(verify(WITH_TOKEN.as_bytes(), &expected(&key)), Ok(proof));
    for at in 0..WITH_TOKEN.len() {
        let mut changed = WITH_TOKEN.as_bytes().to_vec();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        assert!(verify(&changed, &expected(&key)).is_err(), "{at}");
        assert!(verify(&WITH_TOKEN.as_bytes()[..at], &expected(&key)).is_err(), "{at}");
    }
}

#[test]
fn the_example_of_section_7_1_fits_nothing_else() {
    let key = key();
    let refused = |expected: &Expected<'_>| verify(WITH_TOKEN.as_bytes(), expected).unwrap_err();
    assert_eq!(refused(&Expected { key: &[0; 32], ..expected(&key) }), Mismatch::Key);
    let at = Duration::from_secs;
    for (other, why) in [
        (Expected { method: b"POST", ..expected(&key) }, "the proof is for another method (htm)"),
        (Expected { method: b"get", ..expected(&key) }, "the proof is for another method (htm)"),
        (Expected { address: None, ..expected(&key) }, "the proof is for another address (htu)"),
        (
            Expected { address: Some(b"http://resource.example.org/protectedresource"), ..expected(&key) },
            "the proof is for another address (htu)",
        ),
        (Expected { token: &TOKEN.as_bytes()[1..], ..expected(&key) }, "the proof is for another token (ath)"),
        (Expected { oldest: at(ISSUED + 1), ..expected(&key) }, "the proof is too old (iat)"),
        (Expected { newest: at(ISSUED - 1), ..expected(&key) }, "the proof is from the future (iat)"),
        (
            Expected { algorithms: &[SignatureAlgorithm::ES384], ..expected(&key) },
            "the proof's algorithm is not accepted",
        ),
    ] {
        assert_eq!(refused(&other), Mismatch::Proof(why));
    }
}

#[test]
fn the_example_of_section_4_1_is_for_no_token() {
    let key = key();
    let address = Some(&b"https://server.example.com/token"[..]);
    let found = verify(WITHOUT_TOKEN.as_bytes(), &Expected { method: b"POST", address, ..expected(&key) });
    assert_eq!(found, Err(Mismatch::Proof("the proof is for no token: it has no ath")));
}
