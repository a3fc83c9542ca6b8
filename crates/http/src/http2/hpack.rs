//! HPACK (RFC 7541): the compression of field sections in HTTP/2.

mod decoder;
mod dynamic_table;
mod encoder;
mod field;
mod huffman;
mod integer;
mod recent;
mod static_table;

pub use self::decoder::{HpackDecoder, HpackError};
pub use self::encoder::HpackEncoder;
pub use self::field::{HeadPart, HpackField, OF_CONNECTION};
