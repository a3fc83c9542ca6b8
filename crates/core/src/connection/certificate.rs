//! Reads the subject of a certificate (RFC 5280). It verifies nothing: TLS has done that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

/// The subject of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The common name of the subject, possibly empty.
    pub common_name: String,
    /// Host names among the alternative names, as written.
    pub dns: Vec<String>,
    /// Mail addresses among the alternative names.
    pub emails: Vec<String>,
    /// URIs among the alternative names.
    pub uris: Vec<String>,
    /// IP addresses among the alternative names.
    pub addresses: Vec<IpAddr>,
    /// End of its validity, since the Unix epoch.
    pub not_after: Duration,
    /// SHA-256 of the whole certificate in DER (`x5t#S256`, RFC 8705 section 3.1).
    pub thumbprint: [u8; 32],
}

/// Largest number of names that are read.
const MOST_NAMES: usize = 1000;

const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const OCTET_STRING: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.29.17
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// A reader of DER (X.690).
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// Reads the next element: its tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// Reads the content of the next element, which must have this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    /// Reads the content of the next element if it has this tag.
    fn maybe(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() == Some(&tag) { self.expect(tag) } else { None }
    }
}

impl Certificate {
    /// Parses a certificate in DER.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let mut signed = Der(Der(der).expect(SEQUENCE)?);
        let mut body = Der(signed.expect(SEQUENCE)?);
        body.maybe(VERSION);
        body.expect(INTEGER)?;
        // The signature's algorithm and the issuer.
        body.expect(SEQUENCE)?;
        body.expect(SEQUENCE)?;
        let mut validity = Der(body.expect(SEQUENCE)?);
        validity.next()?;
        let (kind, end) = validity.next()?;
        let mut found = Self { not_after: time(kind, end)?, ..Self::default() };
        found.common_name = common_name(body.expect(SEQUENCE)?)?;
        // The key.
        body.expect(SEQUENCE)?;
        while let Some((tag, content)) = body.next() {
            if tag == EXTENSIONS {
                found.read_extensions(content)?;
            }
        }
        found.thumbprint.copy_from_slice(digest(&SHA256, der).as_ref());
        Some(found)
    }

    fn read_extensions(&mut self, content: &[u8]) -> Option<()> {
        let mut extensions = Der(Der(content).expect(SEQUENCE)?);
        while !extensions.0.is_empty() {
            let mut extension = Der(extensions.expect(SEQUENCE)?);
            let name = extension.expect(OID)?;
            extension.maybe(BOOLEAN);
            let value = extension.expect(OCTET_STRING)?;
            if name == ALTERNATIVE_NAMES {
                self.read_names(Der(value).expect(SEQUENCE)?)?;
            }
        }
        Some(())
    }

    /// General names (RFC 5280 section 4.2.1.6), by their context tags.
    fn read_names(&mut self, content: &[u8]) -> Option<()> {
        let mut names = Der(content);
        for _ in 0..MOST_NAMES {
            let Some((tag, content)) = names.next() else { break };
            match tag {
                0x81 => self.emails.push(text(content)?),
                0x82 => self.dns.push(text(content)?),
                0x86 => self.uris.push(text(content)?),
                0x87 => self.addresses.extend(address(content)),
                _ => {}
            }
        }
        Some(())
    }
}

/// The last common name of a distinguished name, which is the most specific; an empty text if it has none.
fn common_name(subject: &[u8]) -> Option<String> {
    let mut found = String::new();
    let mut parts = Der(subject);
    while !parts.0.is_empty() {
        let mut part = Der(parts.expect(SET)?);
        while !part.0.is_empty() {
            let mut attribute = Der(part.expect(SEQUENCE)?);
            let (name, (_, value)) = (attribute.expect(OID)?, attribute.next()?);
            if name == COMMON_NAME {
                found = text(value).unwrap_or_default();
            }
        }
    }
    Some(found)
}

/// Accepts a text that can be compared and written into a field.
fn text(content: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(content).ok()?;
    (!text.chars().any(char::is_control)).then(|| text.to_owned())
}

fn address(content: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(content) {
        return Some(Ipv4Addr::from(bytes).into());
    }
    <[u8; 16]>::try_from(content).ok().map(|bytes| Ipv6Addr::from(bytes).into())
}

/// Parses `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280 section 4.1.2.5) as time since the Unix epoch; earlier times
/// become 0.
fn time(kind: u8, content: &[u8]) -> Option<Duration> {
    let digits = content.strip_suffix(b"Z")?;
    let number = |at: usize, length: usize| {
        let part = digits.get(at..at + length)?;
        part.iter().all(u8::is_ascii_digit).then(|| part.iter().fold(0, |n, digit| n * 10 + i64::from(digit - b'0')))
    };
    let (year, at) = match (kind, digits.len()) {
        // Two digits mean 1950 to 2049.
        (UTC_TIME, 12) => (number(0, 2).map(|year| if year < 50 { 2000 + year } else { 1900 + year })?, 2),
        (GENERALIZED_TIME, 14) => (number(0, 4)?, 4),
        _ => return None,
    };
    let (month, day) = (number(at, 2)?, number(at + 2, 2)?);
    let (hour, minute, second) = (number(at + 4, 2)?, number(at + 6, 2)?, number(at + 8, 2)?);
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// Returns the days since the Unix epoch, in the Gregorian calendar; years begin in March here, so that leap days come
/// last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year / 4 - year / 100 + year / 400;
    year * 365 + leaps + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests;
