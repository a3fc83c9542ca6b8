use std::slice::from_ref;
use std::time::Duration;

use pylae_core::plan::CertifiedKey;

use super::super::listener::PROVIDER;
use super::super::local::local_certificate;
use super::{Certificates, read_certificates, read_key};

fn pair() -> CertifiedKey {
    let made = local_certificate().unwrap();
    CertifiedKey { cert: made.cert, key: made.key }
}

fn problems(plans: &[CertifiedKey]) -> Vec<(String, String)> {
    let built = Certificates::build(plans, &PROVIDER, Duration::ZERO);
    built.err().unwrap_or_default().into_iter().map(|problem| (problem.path, problem.message)).collect()
}

#[test]
fn every_problem_is_reported_with_its_path() {
    let (one, other) = (pair(), pair());
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let found = problems(&[
        CertifiedKey { cert: one.key.clone(), key: one.key.clone() },
        CertifiedKey { cert: one.cert.clone(), key: other.key.clone() },
        CertifiedKey { cert: one.cert.clone(), key: one.cert.clone() },
        CertifiedKey { cert: one.cert.clone(), key: encrypted.to_owned() },
        one.clone(),
    ]);
    let expected = [
        ("[0].cert", "holds no certificate"),
        ("[1].key", "is not the key of the certificate"),
        ("[2].key", "holds no private key"),
        ("[3].key", "is encrypted"),
    ];
    assert_eq!(found.len(), expected.len());
    for ((path, message), (at, what)) in found.iter().zip(expected) {
        assert!(path == at && message.contains(what), "{path}: {message}");
    }
    assert_eq!(problems(&[]).len(), 1);
}

#[test]
fn names_match_in_any_case_and_wildcards_match_one_label() {
    let made = pair();
    let key = || read_key(read_certificates(&made.cert).unwrap(), &made.key, &PROVIDER).unwrap();
    let mut built = Certificates::build(from_ref(&made), &PROVIDER, Duration::ZERO).unwrap();
    for (index, dns) in [(1, "*.Example.org"), (2, "a.example.ORG")] {
        let names =
            pylae_core::connection::certificate::Certificate { dns: vec![dns.to_owned()], ..Default::default() };
        built.add(index, &names, key(), Duration::ZERO);
    }
    assert_eq!(built.named("LOCALHOST"), Some(&[0][..]));
    assert_eq!(built.named("b.example.org"), Some(&[1][..]));
    assert_eq!(built.named("A.example.org"), Some(&[2][..]));
    for unknown in ["a.b.example.org", "example.org", ".example.org.", "org", ""] {
        assert_eq!(built.named(unknown), None, "{unknown}");
    }
}

#[test]
fn a_certificate_that_has_expired_is_doubtful() {
    let made = pair();
    let later = crate::io::clock::wall() + Duration::from_secs(400 * 86_400);
    let warned = |wall| Certificates::build(from_ref(&made), &PROVIDER, wall).unwrap().warnings.len();
    assert_eq!((warned(crate::io::clock::wall()), warned(later)), (0, 1));
}
