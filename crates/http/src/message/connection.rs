//! The `Connection` field: options of this connection, and the fields that it nominates as hop-by-hop.

use crate::message::fields::NEVER_WITH_UNDERSCORE;
use crate::message::name;
use crate::{Fields, Name, NameSet, Span, Version, class};

/// The Connection options of one head (RFC 9110 section 7.6.1).
#[derive(Clone, Debug, Default)]
pub struct ConnectionOptions {
    /// `close` was named.
    pub close: bool,
    /// `keep-alive` was named.
    pub keep_alive: bool,
    /// `upgrade` was named.
    pub upgrade: bool,
    /// Other names: fields that must not be forwarded. At most 16.
    pub nominated: Vec<Span>,
}

/// A head nominates a protected field, or more than 16 fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nomination(pub &'static str);

/// Names that no peer may have removed by nominating them.
const PROTECTED: NameSet = NEVER_WITH_UNDERSCORE.with(NameSet::of(&[
    Name::Authorization,
    Name::ContentLength,
    Name::ContentRange,
    Name::Cookie,
    Name::Forwarded,
    Name::Host,
    Name::Origin,
    Name::Traceparent,
    Name::Tracestate,
    Name::TransferEncoding,
]));

const MAX_NOMINATED: usize = 16;

impl ConnectionOptions {
    /// Reads all Connection lines of a head into `self`, which is cleared first. A request that nominates a protected
    /// name (authorization, cookie, host, content-length, transfer-encoding, forwarded and identity names,
    /// x-request-id, …) is refused. After an error the other options have been read nevertheless, without protected
    /// names.
    pub fn read(&mut self, fields: &Fields, buf: &[u8]) -> Result<(), Nomination> {
        self.clear();
        if !fields.has(Name::Connection) {
            return Ok(());
        }
        let mut outcome = Ok(());
        for line in fields.named(Name::Connection) {
            // Nearly always there is one option, and it is one of these.
            if self.flag(line.value.of(buf)) {
                continue;
            }
            let mut start = line.value.start as usize;
            for element in line.value.of(buf).split(|&byte| byte == b',') {
                let option = class::trim(element);
                let offset = element.iter().take_while(|&&byte| byte == b' ' || byte == b'\t').count();
                if let Err(error) = self.option(option, start + offset) {
                    outcome = outcome.and(Err(error));
                }
                start += element.len() + 1;
            }
        }
        outcome
    }

    /// Clears everything and keeps the memory. It must be called whenever the buffer is cleared, because the nominated
    /// names refer to it.
    pub fn clear(&mut self) {
        self.close = false;
        self.keep_alive = false;
        self.upgrade = false;
        self.nominated.clear();
    }

    fn option(&mut self, option: &[u8], start: usize) -> Result<(), Nomination> {
        // Empty elements of a list are ignored (RFC 9110 section 5.6.1).
        if option.is_empty() || self.flag(option) {
            return Ok(());
        }
        // These two are never forwarded anyway.
        if option.eq_ignore_ascii_case(b"te") || option.eq_ignore_ascii_case(b"http2-settings") {
            Ok(())
        } else if !class::is_token(option) {
            Err(Nomination("connection option is not a token"))
        } else if PROTECTED.has(Name::classify(option)) || name::starts_with(option, b"x-forwarded") {
            Err(Nomination("connection option names a protected field"))
        } else if self.nominated.len() == MAX_NOMINATED {
            Err(Nomination("too many connection options"))
        } else {
            self.nominated.push(Span::new(start, start + option.len()));
            Ok(())
        }
    }

    /// Records an option that names no field. Returns true if it was one.
    fn flag(&mut self, option: &[u8]) -> bool {
        let flag = match option.len() {
            5 if option.eq_ignore_ascii_case(b"close") => &mut self.close,
            10 if option.eq_ignore_ascii_case(b"keep-alive") => &mut self.keep_alive,
            7 if option.eq_ignore_ascii_case(b"upgrade") => &mut self.upgrade,
            _ => return false,
        };
        *flag = true;
        true
    }

    /// Returns true if the sender keeps the connection open after this message (RFC 9112 section 9.3).
    pub fn persists(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }

    /// Returns true if the field `name` was nominated.
    #[inline]
    pub fn nominates(&self, buf: &[u8], name: &[u8]) -> bool {
        self.nominated.iter().any(|span| name::equal(span.of(buf), name))
    }
}

#[cfg(test)]
mod tests;
