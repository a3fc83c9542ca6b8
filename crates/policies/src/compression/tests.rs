use std::io::Read;
use std::sync::Arc;

use proptest::prelude::*;
use pylae_core::BodyTransform;
use pylae_http::HeadLimits;
use serde_json::json;

use super::*;
use crate::PolicyShared;
use crate::authentication::Authenticators;

fn compression() -> Compression {
    let shared = Arc::new(PolicyShared::new(1));
    let config = json!({"algorithms": ["zstd", "br", "gzip"], "min_size": 1, "types": ["text/*"]});
    let parts = Parts { route: "r", service: "", params: &[], shared: &shared, auth: &Authenticators::default() };
    Compression::build(serde_json::from_value(config).unwrap(), &parts).unwrap()
}

fn chosen(accept: &str) -> Option<&'static str> {
    let mut exchange = Exchange::new(0);
    exchange
        .request
        .buffer
        .extend_from_slice(format!("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {accept}\r\n\r\n").as_bytes());
    let limits = HeadLimits { head: 65536, target: 8192, fields: 100 };
    assert!(exchange.request.head.parse(&exchange.request.buffer, &limits).unwrap());
    compression().negotiate(&exchange).map(ContentCoding::name)
}

#[test]
fn the_client_decides_and_we_among_equals() {
    for (accept, expected) in [
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("gzip, br", Some("br")),
        ("gzip;q=1.0, br;q=0.5", Some("gzip")),
        ("GZIP", Some("gzip")),
        ("x-gzip", Some("gzip")),
        ("*", Some("zstd")),
        ("*, zstd;q=0", Some("br")),
        ("gzip;q=0", None),
        ("gzip;q=0.000, *;q=0", None),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0.5, gzip", Some("gzip")),
        ("identity;q=0, gzip;q=0.1", Some("gzip")),
        ("deflate", None),
        ("", None),
        ("gzip;q=2", None),
        ("gzip;q=nonsense", None),
        ("gzip;q=0.1234", None),
        (" br ; q=0.9 , gzip ; Q=1 ", Some("gzip")),
    ] {
        assert_eq!(chosen(accept), expected, "{accept}");
    }
}

fn decoded(algorithm: ContentCoding, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match algorithm {
        ContentCoding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap(),
        ContentCoding::Zstd => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut plain).unwrap(),
        ContentCoding::Br => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut plain).unwrap(),
    };
    plain
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_goes_in_comes_out(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..2000), 0..6)) {
        for algorithm in [ContentCoding::Gzip, ContentCoding::Zstd, ContentCoding::Br] {
            let mut encoder = Encoder::new(algorithm).unwrap();
            let mut out = Vec::new();
            for (index, piece) in pieces.iter().enumerate() {
                encoder.push(piece, false, &mut out);
                if index % 2 == 0 {
                    encoder.flush(&mut out);
                }
            }
            encoder.push(b"", true, &mut out);
            encoder.flush(&mut out);
            prop_assert_eq!(decoded(algorithm, &out), pieces.concat());
        }
    }
}
