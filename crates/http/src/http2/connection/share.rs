//! Who may send next, where many streams want to send and the connection has room for some: in turn, each its share.

use super::state::{Http2Connection, MAX_OUTPUT};
use crate::http2::stream::StreamKey;

/// Least share of a turn, unless less is left.
const LEAST_SHARE: usize = 16 * 1024;

impl Http2Connection {
    /// Bytes that may be sent in all: within the peer's window and the output.
    fn common_room(&self) -> usize {
        self.send_window.available().min(MAX_OUTPUT.saturating_sub(self.output().len()))
    }

    /// Bytes that the stream may send now: its share, or what is left if nobody waits.
    pub(super) fn room_of(&self, share: usize) -> usize {
        let room = self.common_room();
        match share {
            0 if !self.share.waiting.is_empty() => 0,
            0 => room.saturating_sub(self.share.reserved),
            share => room.min(share),
        }
    }

    /// Returns true if the owner has something to do besides writing: streams that wait can be given their shares, or
    /// the connection is over.
    pub fn needs_turn(&self) -> bool {
        self.is_over() || (!self.share.waiting.is_empty() && self.common_room() > 0)
    }

    /// Takes `bytes` out of the share of a stream. Returns the rest.
    pub(super) fn use_share(&mut self, share: usize, bytes: usize) -> usize {
        let used = share.min(bytes);
        self.share.reserved -= used;
        share - used
    }

    /// Lets a stream wait until it is its turn.
    pub(super) fn wait_for_share(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.get_mut(key)
            && !std::mem::replace(&mut stream.queued, true)
        {
            self.share.waiting.push_back(key);
        }
    }

    /// Forgets a stream that is no more.
    pub(super) fn forget_share(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get(key) else { return };
        self.share.reserved -= stream.share;
        if stream.queued {
            self.share.waiting.retain(|&waiting| waiting != key);
        }
    }

    /// Begins a turn: shares the room out among the streams that have waited longest. The owner calls it once it has
    /// run all that had changed.
    pub fn share_out(&mut self) {
        // Who has not used its share has nothing to send.
        while let Some(key) = self.share.chosen.pop() {
            if let Some(stream) = self.streams.get_mut(key) {
                stream.share = 0;
            }
        }
        self.share.reserved = 0;
        if self.share.waiting.is_empty() {
            return;
        }
        let mut left = self.common_room();
        let share = LEAST_SHARE.max(left / self.share.waiting.len());
        // Nobody is put off with a rest, but the first.
        while left > 0
            && (left >= share || self.share.chosen.is_empty())
            && let Some(key) = self.share.waiting.pop_front()
        {
            let Some(stream) = self.streams.get_mut(key) else { continue };
            stream.queued = false;
            stream.share = share.min(left);
            left -= stream.share;
            self.share.reserved += stream.share;
            self.share.chosen.push(key);
            self.change(key);
        }
    }
}
