//! Chunked transfer coding, decoding and encoding (RFC 9112 section 7.1).

use std::ops::Range;

use crate::class::{self, TOKEN};
use crate::message::head::Cursor;
use crate::message::name;
use crate::{Fields, HeadError, HeadLimits, Name};

/// The result of [`ChunkedDecoder::decode`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The whole input was consumed, and more is needed.
    More,
    /// These bytes of the input are body; the number of consumed bytes includes them.
    Data(Range<usize>),
    /// The body is complete.
    End,
}

/// Why a chunked body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkError(pub &'static str);

/// Longest chunk size, in hex digits.
const SIZE_DIGITS: u8 = 16;
/// Largest chunk: what a JavaScript number holds exactly, so that every peer reads the same value.
const LARGEST_CHUNK: u64 = 1 << 53;
const EXTENSION_PER_CHUNK: u16 = 256;
const EXTENSIONS_PER_BODY: u16 = 16 * 1024;
const TRAILERS: HeadLimits = HeadLimits { head: 8 * 1024, target: 0, fields: 64 };

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// A chunk size.
    #[default]
    Size,
    /// A chunk extension.
    Extension(Extension),
    /// The LF after size and extension.
    SizeLf,
    /// Chunk data.
    Data,
    /// The CR after chunk data.
    DataCr,
    /// The LF after chunk data.
    DataLf,
    /// The trailer section.
    Trailers,
    /// Nothing: the body is complete.
    Done,
}

/// What the next byte of chunk extensions belongs to (RFC 9112 section 7.1.1). White space is allowed only around `;`
/// and `=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    /// White space before a `;`.
    Gap,
    /// White space before a name, or its first byte.
    BeforeName,
    Name,
    /// White space before `=` or `;`.
    AfterName,
    /// White space before a value, or its first byte.
    BeforeValue,
    /// A value that is a token.
    Token,
    /// A value in quotes.
    Quoted,
    /// A byte after a backslash in quotes.
    Escaped,
    /// After the closing quote.
    Closed,
}

impl Extension {
    /// Returns the state after `byte`, or None if `byte` is not allowed here.
    fn next(self, byte: u8) -> Option<Self> {
        use Extension::{AfterName, BeforeName, BeforeValue, Closed, Escaped, Gap, Name, Quoted, Token};
        Some(match (self, byte) {
            (Quoted, b'"') => Closed,
            (Quoted, b'\\') => Escaped,
            (Quoted | Escaped, _) if class::is(byte, class::VALUE) => Quoted,
            (BeforeName | AfterName | BeforeValue | Gap, b' ' | b'\t') => self,
            (Name, b' ' | b'\t') => AfterName,
            (Token | Closed, b' ' | b'\t') => Gap,
            (Name | AfterName, b'=') => BeforeValue,
            (Name | AfterName | Token | Closed | Gap, b';') => BeforeName,
            (BeforeValue, b'"') => Quoted,
            (BeforeName | Name, _) if class::is(byte, TOKEN) => Name,
            (BeforeValue | Token, _) if class::is(byte, TOKEN) => Token,
            _ => return None,
        })
    }

    /// Returns true if the line may end here.
    fn is_complete(self) -> bool {
        matches!(self, Self::Name | Self::Token | Self::Closed)
    }
}

/// Decodes a chunked body piece by piece. Chunk extensions are checked, limited and dropped; trailers are limited,
/// validated and kept.
#[derive(Debug, Default)]
pub struct ChunkedDecoder {
    state: State,
    digits: u8,
    /// The chunk size read so far, then what is left of the chunk.
    left: u64,
    extension: u16,
    extensions: u16,
    section: Vec<u8>,
    fields: Fields,
    cursor: Cursor,
    trailers: Vec<u8>,
}

impl ChunkedDecoder {
    /// Prepares for the next body and keeps the memory.
    pub fn reset(&mut self) {
        self.state = State::Size;
        self.digits = 0;
        self.left = 0;
        self.extension = 0;
        self.extensions = 0;
        self.section.clear();
        self.fields.clear();
        self.cursor = Cursor::default();
        self.trailers.clear();
    }

    /// Decodes more input. Returns how many bytes of `input` were consumed and what they were; call it again with the
    /// rest until it returns `More` or `End`.
    pub fn decode(&mut self, input: &[u8]) -> Result<(usize, Decoded), ChunkError> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match self.state {
                State::Size => self.size(byte)?,
                State::Extension(place) => self.extension(place, byte)?,
                State::SizeLf => {
                    expect(byte, b'\n', "chunk size line does not end with CR LF")?;
                    self.state = if self.left == 0 { State::Trailers } else { State::Data };
                }
                State::Data => {
                    let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len() - at);
                    self.left -= len as u64;
                    if self.left == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok((at + len, Decoded::Data(at..at + len)));
                }
                State::DataCr => {
                    expect(byte, b'\r', "chunk data does not end with CR LF")?;
                    self.state = State::DataLf;
                }
                State::DataLf => {
                    expect(byte, b'\n', "chunk data does not end with CR LF")?;
                    self.digits = 0;
                    self.state = State::Size;
                }
                State::Trailers => {
                    at += self.trailer_section(&input[at..])?;
                    continue;
                }
                State::Done => return Ok((at, Decoded::End)),
            }
            at += 1;
        }
        Ok((at, if self.state == State::Done { Decoded::End } else { Decoded::More }))
    }

    /// Returns the validated trailer section as field lines `name: value CRLF`, without the final blank line and
    /// without fields that are not allowed in trailers (RFC 9110 section 6.5.1). Empty until `End`.
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    fn size(&mut self, byte: u8) -> Result<(), ChunkError> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if self.digits == SIZE_DIGITS {
                return Err(ChunkError("chunk size too long"));
            }
            self.left = self.left << 4 | u64::from(digit);
            self.digits += 1;
            return Ok(());
        }
        if self.digits == 0 {
            return Err(ChunkError("invalid chunk size"));
        }
        if self.left > LARGEST_CHUNK {
            return Err(ChunkError("chunk too large"));
        }
        self.extension = 0;
        self.state = match byte {
            b'\r' => State::SizeLf,
            b';' => State::Extension(Extension::BeforeName),
            b' ' | b'\t' => State::Extension(Extension::Gap),
            _ => return Err(ChunkError("invalid chunk size")),
        };
        Ok(())
    }

    fn extension(&mut self, place: Extension, byte: u8) -> Result<(), ChunkError> {
        if byte == b'\r' && place.is_complete() {
            self.state = State::SizeLf;
            return Ok(());
        }
        self.state = State::Extension(place.next(byte).ok_or(ChunkError("malformed chunk extension"))?);
        self.extension += 1;
        self.extensions += 1;
        if self.extension > EXTENSION_PER_CHUNK || self.extensions > EXTENSIONS_PER_BODY {
            return Err(ChunkError("chunk extension too long"));
        }
        Ok(())
    }

    /// Reads more of the trailer section. Returns how many bytes of `input` belong to it.
    fn trailer_section(&mut self, input: &[u8]) -> Result<usize, ChunkError> {
        if self.section.is_empty() && input.starts_with(b"\r\n") {
            self.state = State::Done;
            return Ok(2);
        }
        let held = self.section.len();
        let taken = input.len().min(TRAILERS.head - held);
        self.section.extend_from_slice(&input[..taken]);
        match self.cursor.fields(&mut self.fields, &self.section, TRAILERS.fields) {
            Err(HeadError::Syntax(reason)) => Err(ChunkError(reason)),
            Err(_) => Err(ChunkError("too many trailer fields")),
            Ok(None) if self.section.len() == TRAILERS.head => Err(ChunkError("trailer section too large")),
            Ok(None) => Ok(taken),
            Ok(Some(end)) => {
                keep_trailers(&self.fields, &self.section, &mut self.trailers);
                self.state = State::Done;
                Ok(end - held)
            }
        }
    }
}

/// Appends those lines of `section` (field lines and a blank one) that are allowed in trailers, by the same rules as
/// for chunked bodies.
pub fn trailers(section: &[u8], out: &mut Vec<u8>) -> Result<(), ChunkError> {
    let mut fields = Fields::default();
    match Cursor::default().fields(&mut fields, section, TRAILERS.fields) {
        Ok(Some(_)) if section.len() <= TRAILERS.head => {
            keep_trailers(&fields, section, out);
            Ok(())
        }
        Err(HeadError::Syntax(reason)) => Err(ChunkError(reason)),
        _ => Err(ChunkError("trailer section too large")),
    }
}

fn keep_trailers(fields: &Fields, section: &[u8], out: &mut Vec<u8>) {
    for field in fields.iter().filter(|field| may_trail(field.id, field.name.of(section))) {
        for part in [field.name.of(section), b": ", field.value.of(section), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
}

/// Returns trailer lines without those whose names are among `names`, ignoring case and treating `_` as `-`.
pub fn without(trailers: &[u8], names: &[Box<str>]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(trailers.len());
    for line in trailers.split_inclusive(|byte| *byte == b'\n') {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if !names.iter().any(|gone| name::equal(name, gone.as_bytes())) {
            kept.extend_from_slice(line);
        }
    }
    kept
}

/// Of the names that the gateway uses only `ETag` may come in trailers: all others control framing, routing,
/// authentication, caching or the processing of the content.
fn may_trail(id: Name, name: &[u8]) -> bool {
    const FAMILIES: &[&[u8]] = &[
        b"access-control-",
        b"content-",
        b"if-",
        b"proxy-",
        b"sec-",
        b"set-cookie",
        b"x-forwarded-",
        b"x-user-",
        b"authentication-",
        b"max-forwards",
        b"strict-transport-",
        b"cookie",
    ];
    id == Name::Etag || (id == Name::Other && !FAMILIES.iter().any(|family| name::starts_with(name, family)))
}

fn expect(byte: u8, wanted: u8, reason: &'static str) -> Result<(), ChunkError> {
    if byte == wanted { Ok(()) } else { Err(ChunkError(reason)) }
}

/// Turns the bytes of `out` from `start` on into a chunk. Does nothing if there are none, because an empty chunk would
/// end the body.
pub fn wrap(out: &mut Vec<u8>, start: usize) {
    let len = out.len() - start;
    if len > 0 {
        let mut line = Vec::with_capacity(18);
        start_chunk(&mut line, len);
        out.splice(start..start, line);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends the line that starts a chunk of `len` bytes (`len` > 0). Its data and `CRLF` must follow.
pub fn start_chunk(out: &mut Vec<u8>, len: usize) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4);
    for place in (0..digits).rev() {
        out.push(HEX[len >> (4 * place) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the last chunk, the trailers (field lines, may be empty) and the final blank line.
pub fn finish(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
