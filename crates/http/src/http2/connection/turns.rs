//! Streams that take turns in sending.

use std::collections::VecDeque;

use crate::http2::stream::StreamKey;

/// The streams that wait for their turn.
#[derive(Debug, Default)]
pub(super) struct ShareQueue {
    pub(super) waiting: VecDeque<StreamKey>,
    /// Streams whose turn it is.
    pub(super) chosen: Vec<StreamKey>,
    /// Bytes that they may write and have not written yet.
    pub(super) reserved: usize,
}
