//! The stream of a cluster.

use std::fmt;
use std::str::FromStr;

/// The place of an entry in a stream, as Valkey numbers it: the time in milliseconds, and a number within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// Milliseconds since the Unix epoch.
    pub time: u64,
    /// Number among the entries of this millisecond.
    pub sequence: u64,
}

/// An entry of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEntry<Bytes> {
    /// Its place.
    pub id: StreamId,
    /// Names and values.
    pub fields: Vec<(Bytes, Bytes)>,
}

/// The newest entry of the stream.
///
/// The epoch changes when the store has forgotten what it was told (it was flushed, or the stream was lost). Within an
/// epoch, entries are numbered without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamHead {
    /// The epoch.
    pub epoch: Box<[u8]>,
    /// Number of the entry within the epoch.
    pub number: u64,
    /// Its place.
    pub id: StreamId,
}

impl fmt::Display for StreamId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}-{}", self.time, self.sequence)
    }
}

impl FromStr for StreamId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (time, sequence) = text.split_once('-').unwrap_or((text, "0"));
        Ok(Self { time: time.parse()?, sequence: sequence.parse()? })
    }
}
