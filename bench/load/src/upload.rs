//! Bodies of requests: what the load generator sends, and the origin's check of what has come.

use std::rc::Rc;

use crate::origin::field;

/// Bytes of a chunk.
const CHUNK: usize = 16 << 10;

/// Appends the fields that frame a body, and the body.
pub(crate) fn append(request: &mut Vec<u8>, body: &[u8], chunked: bool) {
    if !chunked {
        request.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        request.extend_from_slice(body);
        return;
    }
    request.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
    for piece in body.chunks(CHUNK) {
        request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        request.extend_from_slice(piece);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
}

/// A body as it comes.
pub(crate) struct Upload {
    expected: Rc<[u8]>,
    seen: usize,
    is_right: bool,
    next: Next,
}

/// What is to come next.
#[derive(Clone, Copy)]
enum Next {
    /// So many bytes of the body, behind which a chunk ends if there are chunks.
    Bytes {
        left: usize,
        chunked: bool,
    },
    /// The line that begins a chunk.
    Size,
    /// The end of a line.
    ChunkEnd,
    /// Lines up to an empty one.
    Trailers,
    Nothing,
}

impl Upload {
    /// The body behind this head, which should be `expected`. None if its framing is not understood.
    pub(crate) fn new(head: &[u8], expected: Rc<[u8]>) -> Option<Self> {
        let next = match (field(head, b"content-length"), field(head, b"transfer-encoding")) {
            (Some(length), None) => {
                Next::Bytes { left: std::str::from_utf8(length).ok()?.parse().ok()?, chunked: false }
            }
            (None, Some(b"chunked")) => Next::Size,
            _ => return None,
        };
        Some(Self { expected, seen: 0, is_right: true, next })
    }

    /// Takes bytes from the beginning of `input`. Returns how many, or None if they are no body.
    pub(crate) fn take(&mut self, input: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            let line = || memchr::memchr(b'\n', rest).map(|end| (rest[..end].trim_ascii_end(), end + 1));
            match self.next {
                Next::Bytes { left, chunked } => {
                    let piece = &rest[..left.min(rest.len())];
                    self.is_right &= self.expected.get(self.seen..self.seen + piece.len()) == Some(piece);
                    self.seen += piece.len();
                    at += piece.len();
                    if piece.len() < left {
                        self.next = Next::Bytes { left: left - piece.len(), chunked };
                        return Some(at);
                    }
                    self.next = if chunked { Next::ChunkEnd } else { Next::Nothing };
                }
                Next::Size => {
                    let Some((size, length)) = line() else { return Some(at) };
                    let left = usize::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
                    self.next = if left == 0 { Next::Trailers } else { Next::Bytes { left, chunked: true } };
                    at += length;
                }
                Next::ChunkEnd => {
                    let Some((_, length)) = line() else { return Some(at) };
                    self.next = Next::Size;
                    at += length;
                }
                Next::Trailers => {
                    let Some((field, length)) = line() else { return Some(at) };
                    self.next = if field.is_empty() { Next::Nothing } else { Next::Trailers };
                    at += length;
                }
                Next::Nothing => return Some(at),
            }
        }
    }

    /// Whether all has come, and if so, whether it was right.
    pub(crate) fn outcome(&self) -> Option<bool> {
        matches!(self.next, Next::Nothing).then(|| self.is_right && self.seen == self.expected.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content;

    fn upload(request: &[u8], size: usize, pieces: usize) -> Option<bool> {
        let end = memchr::memmem::find(request, b"\r\n\r\n").unwrap() + 4;
        let (head, mut rest) = request.split_at(end);
        let mut upload = Upload::new(head, content::bytes(size).into()).unwrap();
        let mut held = Vec::new();
        loop {
            let (piece, after) = rest.split_at(pieces.min(rest.len()));
            rest = after;
            held.extend_from_slice(piece);
            let taken = upload.take(&held)?;
            held.drain(..taken);
            if rest.is_empty() {
                break;
            }
        }
        assert!(held.is_empty());
        upload.outcome()
    }

    #[test]
    fn what_is_sent_is_right_in_any_pieces() {
        for (size, chunked, pieces) in
            [(0, true, 9), (0, false, 9), (40_000, true, 1), (40_000, true, 7000), (7, false, 3)]
        {
            let mut request = b"POST / HTTP/1.1\r\n".to_vec();
            append(&mut request, &content::bytes(size), chunked);
            assert_eq!(upload(&request, size, pieces), Some(true), "{size} {chunked} {pieces}");
            assert_eq!(upload(&request, size + 1, pieces), Some(false));
        }
    }

    #[test]
    fn what_is_missing_or_no_body_is_not_right() {
        let mut request = b"POST / HTTP/1.1\r\n".to_vec();
        append(&mut request, &content::bytes(100), false);
        request.pop();
        assert_eq!(upload(&request, 100, 10), None);
        assert_eq!(upload(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nno\r\n", 2, 100), None);
        assert!(Upload::new(b"POST / HTTP/1.1\r\n\r\n", content::bytes(2).into()).is_none());
    }
}
