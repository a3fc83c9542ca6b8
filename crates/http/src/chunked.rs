//! Chunked transfer coding, both ways (RFC 9112 section 7.1).

use std::ops::Range;

/// What `ChunkedDecoder::decode` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Everything given was consumed and more is needed.
    More,
    /// These bytes of the input are body; `consumed` counts everything up to their end.
    Data(Range<usize>),
    /// The body is complete.
    End,
}

/// Why a chunked body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkError(pub &'static str);

/// Reads a chunked body piece by piece. Chunk extensions are bounded and dropped, trailers bounded, validated and kept.
#[derive(Debug, Default)]
pub struct ChunkedDecoder {
    _private: (),
}
impl ChunkedDecoder {
    /// Starts over and keeps the memory.
    pub fn reset(&mut self) {
        todo!()
    }
    /// Reads on. Returns how many bytes of `input` were consumed, and what they were; call again with the rest
    /// until `More` or `End`.
    pub fn decode(&mut self, _input: &[u8]) -> Result<(usize, Decoded), ChunkError> {
        todo!()
    }
    /// The validated trailer section as field lines `name: value CRLF`, without the final blank line, fields that may not
    /// stand in a trailer dropped (RFC 9110 section 6.5.1). Empty until `End`.
    pub fn trailers(&self) -> &[u8] {
        todo!()
    }
}

/// Appends the line that starts a chunk of `len` bytes (`len` > 0). Its data and `CRLF` follow.
pub fn start_chunk(_out: &mut Vec<u8>, _len: usize) {
    todo!()
}

/// Appends the last chunk, the trailers (field lines, may be empty) and the final blank line.
pub fn finish(_out: &mut Vec<u8>, _trailers: &[u8]) {
    todo!()
}
