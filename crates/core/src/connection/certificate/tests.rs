use std::time::Duration;

use super::{Certificate, GENERALIZED_TIME, UTC_TIME, time};

/// Created with OpenSSL, with two common names and alternative names of every kind.
const EXAMPLE: &[u8] = include_bytes!("example.der");

#[test]
fn a_certificate_says_who_its_subject_is() {
    let read = Certificate::parse(EXAMPLE).unwrap();
    assert_eq!(read.common_name, "Käthe");
    assert_eq!(read.dns, ["a.example.org", "*.b.example.org"]);
    assert_eq!(read.emails, ["k@example.org"]);
    assert_eq!(read.uris, ["spiffe://example.org/k"]);
    assert_eq!(read.addresses, ["192.0.2.1".parse::<std::net::IpAddr>().unwrap(), "2001:db8::1".parse().unwrap()]);
    assert_eq!(read.not_after, Duration::from_secs(2_110_851_268));
    // As `openssl x509 -fingerprint -sha256` says.
    assert_eq!(
        crate::request::hex::digits(u128::from_be_bytes(read.thumbprint[..16].try_into().unwrap())),
        *b"10dc8c4248e9f69078ddc6553b9283c8"
    );
}

#[test]
fn what_is_cut_off_or_changed_is_refused_or_read_and_never_worse() {
    for end in 0..EXAMPLE.len() {
        assert_eq!(Certificate::parse(&EXAMPLE[..end]), None, "{end}");
    }
    for at in 0..EXAMPLE.len() {
        for value in [0, 0x7f, 0x80, 0x82, 0xff] {
            let mut changed = EXAMPLE.to_vec();
            changed[at] = value;
            let _ = Certificate::parse(&changed);
        }
    }
}

#[test]
fn a_name_with_a_control_character_is_no_name() {
    let at = EXAMPLE.windows(13).position(|found| found == b"a.example.org").unwrap();
    let mut changed = EXAMPLE.to_vec();
    changed[at + 1] = 0;
    assert_eq!(Certificate::parse(&changed), None);
}

#[test]
fn times_are_read_in_both_forms() {
    let seconds = |kind, text: &str| time(kind, text.as_bytes()).map(|time| time.as_secs());
    for (kind, text, expected) in [
        (UTC_TIME, "700101000000Z", Some(0)),
        (UTC_TIME, "000229121553Z", Some(951_826_553)),
        (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
        (UTC_TIME, "500101000000Z", Some(0)),
        (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
        (GENERALIZED_TIME, "21000301000000Z", Some(4_107_542_400)),
        (UTC_TIME, "20500101000000Z", None),
        (UTC_TIME, "700101000000", None),
        (UTC_TIME, "7001010000+0Z", None),
        (0x04, "700101000000Z", None),
    ] {
        assert_eq!(seconds(kind, text), expected, "{text}");
    }
}
