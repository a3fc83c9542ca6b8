//! A local certificate for development. Its authority is created with it and the authority's key is discarded, so that
//! trusting the authority means trusting this one certificate only.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::{SystemRandom, fill};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

use crate::io::clock;

/// Validity: browsers accept less than 398 days.
const VALIDITY: Duration = Duration::from_secs(397 * 86_400);
/// The start of the validity is set back by this, because clocks differ.
const BACKDATED: Duration = Duration::from_secs(3600);

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTF8: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SUBJECT_KEY: &[u8] = &[0x55, 0x1d, 0x0e];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];
const AUTHORITY_KEY: &[u8] = &[0x55, 0x1d, 0x23];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];

/// A certificate for `localhost` with its key and authority, all in PEM.
pub struct LocalCertificate {
    /// The authority to trust.
    pub authority: String,
    /// For `localhost`, 127.0.0.1 and `::1`.
    pub cert: String,
    /// Its key.
    pub key: String,
}

/// Creates a certificate for this machine, valid for 397 days. Returns None if no randomness is available.
pub fn local_certificate() -> Option<LocalCertificate> {
    make(clock::wall()).ok()
}

fn make(wall: Duration) -> Result<LocalCertificate, Unspecified> {
    let authority = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
    let own = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
    let mut suffix = [0; 4];
    fill(&mut suffix)?;
    // Browsers confuse authorities with the same name.
    let issuer = name(&format!("Pylae on this machine, {:08x}", u32::from_be_bytes(suffix)));
    let validity = element(SEQUENCE, &[&time(wall.saturating_sub(BACKDATED)), &time(wall + VALIDITY)]);
    let servers = element(SEQUENCE, &[&element(OID, &[SERVER_AUTH])]);
    let constrained = [
        extension(
            BASIC_CONSTRAINTS,
            true,
            &element(SEQUENCE, &[&element(BOOLEAN, &[&[0xff]]), &element(INTEGER, &[&[0]])]),
        ),
        extension(KEY_USAGE, true, &element(BIT_STRING, &[&[1, 0x06]])),
        extension(EXTENDED_KEY_USAGE, false, &servers),
        extension(NAME_CONSTRAINTS, true, &constraints()),
        extension(SUBJECT_KEY, false, &element(OCTET_STRING, &[&key_id(&authority)])),
    ]
    .concat();
    let served = [
        extension(BASIC_CONSTRAINTS, true, &element(SEQUENCE, &[])),
        extension(KEY_USAGE, true, &element(BIT_STRING, &[&[7, 0x80]])),
        extension(EXTENDED_KEY_USAGE, false, &servers),
        extension(ALTERNATIVE_NAMES, false, &names()),
        extension(SUBJECT_KEY, false, &element(OCTET_STRING, &[&key_id(&own)])),
        extension(AUTHORITY_KEY, false, &element(SEQUENCE, &[&element(0x80, &[&key_id(&authority)])])),
    ]
    .concat();
    let authority_cert = certificate(&authority, &issuer, &validity, &issuer, &authority, &constrained)?;
    let cert = certificate(&authority, &issuer, &validity, &name("localhost"), &own, &served)?;
    let key = own.to_pkcs8v1()?;
    let pem = |tag: &str, der: &[u8]| pem::encode(&pem::Pem::new(tag, der));
    Ok(LocalCertificate {
        authority: pem("CERTIFICATE", &authority_cert),
        cert: pem("CERTIFICATE", &cert),
        key: pem("PRIVATE KEY", key.as_ref()),
    })
}

/// Encodes a DER element (X.690) with this content.
fn element(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let length: usize = content.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        Ok(length) => out.extend([0x81, length]),
        Err(_) => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    for part in content {
        out.extend_from_slice(part);
    }
    out
}

/// Encodes a certificate (RFC 5280 section 4.1) for `subject` and its key, signed by `signer`.
fn certificate(
    signer: &EcdsaKeyPair,
    issuer: &[u8],
    validity: &[u8],
    subject: &[u8],
    key: &EcdsaKeyPair,
    extensions: &[u8],
) -> Result<Vec<u8>, Unspecified> {
    let mut serial = [0; 16];
    fill(&mut serial)?;
    // A positive integer without leading zeros.
    serial[0] = serial[0] & 0x7f | 0x40;
    let algorithm = element(SEQUENCE, &[&element(OID, &[ECDSA_WITH_SHA256])]);
    let kind = element(SEQUENCE, &[&element(OID, &[EC_PUBLIC_KEY]), &element(OID, &[P256])]);
    let public = element(SEQUENCE, &[&kind, &element(BIT_STRING, &[&[0], key.public_key().as_ref()])]);
    let version = element(0xa0, &[&element(INTEGER, &[&[2]])]);
    let extensions = element(0xa3, &[&element(SEQUENCE, &[extensions])]);
    let serial = element(INTEGER, &[&serial]);
    let body = [&version[..], &serial, &algorithm, issuer, validity, subject, &public, &extensions];
    let body = element(SEQUENCE, &body);
    let signature = signer.sign(&SystemRandom::new(), &body)?;
    Ok(element(SEQUENCE, &[&body, &algorithm, &element(BIT_STRING, &[&[0], signature.as_ref()])]))
}

fn extension(name: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let flag = if critical { element(BOOLEAN, &[&[0xff]]) } else { Vec::new() };
    element(SEQUENCE, &[&element(OID, &[name]), &flag, &element(OCTET_STRING, &[value])])
}

fn name(common_name: &str) -> Vec<u8> {
    let attribute = element(SEQUENCE, &[&element(OID, &[COMMON_NAME]), &element(UTF8, &[common_name.as_bytes()])]);
    element(SEQUENCE, &[&element(SET, &[&attribute])])
}

/// General names: tag 0x82 is a host, 0x87 an address.
fn names() -> Vec<u8> {
    let (host, address) = (|name: &str| element(0x82, &[name.as_bytes()]), |bytes: &[u8]| element(0x87, &[bytes]));
    let loopback = std::net::Ipv6Addr::LOCALHOST.octets();
    element(SEQUENCE, &[&host("localhost"), &address(&[127, 0, 0, 1]), &address(&loopback)])
}

/// Name constraints: the authority may only sign for the name `localhost`. There is no constraint on addresses, because
/// `BoringSSL`, which gRPC clients and Envoy use, does not support those and refuses every chain that has one. The
/// authority cannot sign for other addresses because its key is discarded.
fn constraints() -> Vec<u8> {
    let subtree = element(SEQUENCE, &[&element(0x82, &[b"localhost"])]);
    element(SEQUENCE, &[&element(0xa0, &[&subtree])])
}

/// A hash of a key (RFC 7093 section 2).
fn key_id(key: &EcdsaKeyPair) -> Vec<u8> {
    digest(&SHA256, key.public_key().as_ref()).as_ref()[..20].to_vec()
}

/// Encodes `YYMMDDHHMMSSZ`, which covers the years up to 2049.
fn time(since_epoch: Duration) -> Vec<u8> {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = pylae_core::civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let text = format!("{:02}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z", year % 100);
    element(UTC_TIME, &[text.as_bytes()])
}
