//! Compresses responses for clients that accept it (RFC 9110 sections 8.4 and 12.5.3).

mod encoder;
#[cfg(test)]
mod tests;

use pylae_core::exchange::transform::DIGESTS;
use pylae_core::{Exchange, Problem};
use pylae_http::Name;
use serde::{Deserialize, Serialize};

use self::encoder::{ContentCoding, Encoder};
use crate::media;
use crate::{Parts, Policy};

/// What the plan says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Codings in order of preference, which decides between codings that the client ranks equally.
    algorithms: Vec<ContentCoding>,
    /// Bodies known to be smaller are not compressed.
    min_size: u64,
    /// Media types to compress: `text/*`, `application/*+json`, …
    types: Vec<String>,
}

/// The compression policy.
#[derive(Debug)]
pub struct Compression(Config);

impl Policy for Compression {
    type Config = Config;

    fn build(config: Config, _parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
        if config.algorithms.is_empty() {
            return Err(vec![Problem::at("algorithms", "needs at least one of zstd, br and gzip")]);
        }
        Ok(Self(config))
    }

    fn on_response(&self, exchange: &mut Exchange) {
        if exchange.response.status == 304 && exchange.response.is_relayed() {
            self.weaken_not_modified(exchange);
            return;
        }
        if !self.is_compressible(exchange) {
            return;
        }
        exchange.response.vary("Accept-Encoding");
        if exchange.response.status == 206 {
            // Content-Range counts bytes of the uncompressed body.
            return;
        }
        let Some(algorithm) = self.negotiate(exchange) else { return };
        let Ok(encoder) = Encoder::new(algorithm) else { return };
        weaken_etag(exchange);
        exchange.response.edits.remove(b"Accept-Ranges");
        remove_digests(exchange);
        // Cannot fail: the value is a literal.
        let _ = exchange.response.edits.set_known(Name::ContentEncoding, algorithm.name().as_bytes());
        exchange.response.transforms.install(Box::new(encoder));
    }

    fn preview(&self, exchange: &Exchange) -> String {
        match self.negotiate(exchange) {
            Some(algorithm) => format!("compresses with {} what is worth it", algorithm.name()),
            None => "leaves the response as it is: the client accepts no coding".to_owned(),
        }
    }
}

impl Compression {
    /// Returns true if the response may be compressed and is worth it, regardless of what the client accepts.
    fn is_compressible(&self, exchange: &Exchange) -> bool {
        if exchange.response.status < 200 || matches!(exchange.response.status, 204 | 205 | 304) {
            return false;
        }
        let part = exchange.response.status == 206;
        let no_transform = |line: &[u8]| {
            let mut members = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            members.any(|member| member.eq_ignore_ascii_case(b"no-transform"))
        };
        let has = |name| exchange.response.value(name).is_some();
        if has("content-encoding")
            || (has("content-range") && !part)
            || exchange.response.values("cache-control").any(no_transform)
            || exchange.request.values("cache-control").any(no_transform)
        {
            return false;
        }
        let Some(media) = exchange.response.value("content-type").and_then(media::parse) else { return false };
        // The encoder would hold each event back until the next one.
        !media.is("text/event-stream")
            && (self.0.types.iter().any(|pattern| media.is(pattern)) || (part && media.is("multipart/byteranges")))
            && (part || length(exchange).is_none_or(|length| length >= self.0.min_size))
    }

    /// Gives a 304 the validator of the compressed response. A cache that stores the compressed response would not find
    /// it by the strong validator (RFC 9110 section 15.4.5, RFC 9111 section 4.3.4).
    fn weaken_not_modified(&self, exchange: &mut Exchange) {
        exchange.response.vary("Accept-Encoding");
        if self.negotiate(exchange).is_some() && !client_has_plain(exchange) {
            weaken_etag(exchange);
            remove_digests(exchange);
        }
    }

    /// Picks the coding that the client prefers, and ours among equals. Returns None to leave the body uncompressed.
    fn negotiate(&self, exchange: &Exchange) -> Option<ContentCoding> {
        let mut any = None;
        let mut identity = None;
        let mut named = [None; 3];
        for member in exchange.request.values("accept-encoding").flat_map(|line| line.split(|byte| *byte == b',')) {
            let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let coding = parts.next().unwrap_or_default();
            let weight = parts.find_map(parse_weight).unwrap_or(1000);
            match coding.to_ascii_lowercase().as_slice() {
                b"*" => any = Some(weight),
                b"identity" => identity = Some(weight),
                b"zstd" => named[ContentCoding::Zstd as usize] = Some(weight),
                b"br" => named[ContentCoding::Br as usize] = Some(weight),
                b"gzip" | b"x-gzip" => named[ContentCoding::Gzip as usize] = Some(weight),
                _ => {}
            }
        }
        let mut best: Option<(ContentCoding, u16)> = None;
        for algorithm in &self.0.algorithms {
            let weight = named[*algorithm as usize].or(any).unwrap_or(0);
            if weight > 0 && best.is_none_or(|(_, best)| weight > best) {
                best = Some((*algorithm, weight));
            }
        }
        // `identity` is acceptable by default, but wins only if the client lists it with a higher weight.
        best.filter(|(_, weight)| identity.is_none_or(|identity| *weight >= identity)).map(|(algorithm, _)| algorithm)
    }
}

/// Parses a `q` parameter, in thousandths. A malformed weight counts as 0.
fn parse_weight(parameter: &[u8]) -> Option<u16> {
    let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
    let digits = match value {
        [whole @ (b'0' | b'1')] => [*whole, b'0', b'0', b'0'],
        [whole @ (b'0' | b'1'), b'.', rest @ ..] if rest.len() <= 3 && rest.iter().all(u8::is_ascii_digit) => {
            let mut digits = [*whole, b'0', b'0', b'0'];
            digits[1..=rest.len()].copy_from_slice(rest);
            digits
        }
        _ => return Some(0),
    };
    let weight = digits.iter().fold(0, |sum: u16, digit| sum * 10 + u16::from(digit - b'0'));
    Some(if weight > 1000 { 0 } else { weight })
}

/// Returns the length of the body; for a response to HEAD, the stated Content-Length.
fn length(exchange: &Exchange) -> Option<u64> {
    exchange.response.body_length.or_else(|| {
        let stated = exchange.response.head.fields.get(&exchange.response.buffer, Name::ContentLength)?;
        std::str::from_utf8(stated).ok()?.parse().ok()
    })
}

/// Returns true if the client's stored response is uncompressed: `If-None-Match` lists the tag only as the service sent
/// it, without our `W/`.
fn client_has_plain(exchange: &Exchange) -> bool {
    let Some(etag) = exchange.response.value("etag").filter(|etag| !etag.is_empty()) else { return true };
    let (mut as_sent, mut weakened) = (false, false);
    for line in exchange.request.values("if-none-match") {
        for (at, _) in line.windows(etag.len()).enumerate().filter(|(_, window)| *window == etag) {
            *if line[..at].ends_with(b"W/") { &mut weakened } else { &mut as_sent } = true;
        }
    }
    as_sent && !weakened
}

/// Removes digest fields, which do not match the compressed bytes (RFC 9530 sections 2 and 3).
fn remove_digests(exchange: &mut Exchange) {
    for name in DIGESTS {
        exchange.response.edits.remove(name.as_bytes());
    }
}

/// Makes the entity tag weak: the compressed body is equivalent, but not byte for byte the same.
fn weaken_etag(exchange: &mut Exchange) {
    let Some(etag) = exchange.response.value("etag").filter(|etag| !etag.starts_with(b"W/")) else { return };
    let weak = [b"W/", etag].concat();
    // Cannot fail: the value was valid without the prefix.
    let _ = exchange.response.edits.set_known(Name::Etag, &weak);
}
