//! Streaming encoders that write into memory.

use std::io::{self, Write};

use brotli::CompressorWriter;
use flate2::write::GzEncoder;
use pylae_core::BodyTransform;
use serde::{Deserialize, Serialize};
use zstd::stream::write::Encoder as ZstdEncoder;

/// Levels cheap enough for a proxy: higher ones cost several times as much and save a few percent.
const GZIP_LEVEL: u32 = 5;
const ZSTD_LEVEL: i32 = 3;
const BROTLI_QUALITY: u32 = 4;
/// Base 2 logarithm of the encoder's window in bytes. The window is most of what an encoder holds per response.
const WINDOW_LOG: u32 = 18;
const BROTLI_BUFFER: usize = 16 * 1024;

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ContentCoding {
    Zstd,
    Br,
    Gzip,
}

/// The encoder of one response. Its output collects in the inner `Vec`.
pub(super) enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(ZstdEncoder<'static, Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    /// The encoder has finished.
    Done,
}

impl ContentCoding {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Br => "br",
            Self::Gzip => "gzip",
        }
    }
}

impl Encoder {
    pub(super) fn new(algorithm: ContentCoding) -> io::Result<Self> {
        Ok(match algorithm {
            ContentCoding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(GZIP_LEVEL))),
            ContentCoding::Zstd => {
                let mut encoder = ZstdEncoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.window_log(WINDOW_LOG)?;
                Self::Zstd(encoder)
            }
            ContentCoding::Br => {
                Self::Brotli(Box::new(CompressorWriter::new(Vec::new(), BROTLI_BUFFER, BROTLI_QUALITY, WINDOW_LOG)))
            }
        })
    }

    fn writer(&mut self) -> Option<&mut dyn Write> {
        match self {
            Self::Gzip(encoder) => Some(encoder),
            Self::Zstd(encoder) => Some(encoder),
            Self::Brotli(encoder) => Some(&mut **encoder),
            Self::Done => None,
        }
    }

    fn output(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Self::Gzip(encoder) => Some(encoder.get_mut()),
            Self::Zstd(encoder) => Some(encoder.get_mut()),
            Self::Brotli(encoder) => Some(encoder.get_mut()),
            Self::Done => None,
        }
    }

    fn drain_into(&mut self, out: &mut Vec<u8>) {
        if let Some(written) = self.output() {
            out.append(written);
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        let rest = match std::mem::replace(self, Self::Done) {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
            Self::Brotli(encoder) => Ok(encoder.into_inner()),
            Self::Done => Ok(Vec::new()),
        };
        // Writing to a Vec cannot fail.
        out.append(&mut rest.unwrap_or_default());
    }
}

impl BodyTransform for Encoder {
    fn push(&mut self, input: &[u8], end: bool, out: &mut Vec<u8>) {
        if let Some(writer) = self.writer() {
            let _ = writer.write_all(input);
        }
        if end {
            self.finish(out);
        } else {
            self.drain_into(out);
        }
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        if let Some(writer) = self.writer() {
            let _ = writer.flush();
        }
        self.drain_into(out);
    }
}
