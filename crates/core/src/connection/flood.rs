//! What an HTTP/2 client may do that costs the gateway something and itself nothing: counted against budgets that only
//! time and useful work fill again.

use pylae_http::frames::{END_HEADERS, END_STREAM, FrameHead, kind};

use crate::clock::Instant;

/// Frames that a byte sent to the client pays for: it answers what it gets with acknowledgements and larger windows.
const BYTES_PER_FRAME: u64 = 64;
/// Frames that every sending pays for: small pieces are acknowledged as well as large ones.
const FRAMES_PER_SEND: f64 = 16.0;
/// Body bytes in a frame below which it is a crumb: a message of gRPC has at least as many, and a client's frame of WebSocket.
const CRUMB: u32 = 5;
/// Crumbs that are allowed for one idle frame: they carry something, if hardly more than a client needs to keep the gateway busy.
const CRUMBS_PER_IDLE_FRAME: u32 = 64;
/// Budgets that are used up are full again after so many seconds.
const REFILL: f64 = 60.0;

/// Bounds on what one connection may do.
#[derive(Clone, Copy, Debug)]
pub struct FloodLimits {
    /// Streams that it may cancel at once.
    pub resets: u32,
    /// Frames that it may send at once which carry neither a head nor body bytes; of those that carry hardly any, 64 times as many.
    pub idle_frames: u32,
}

/// What one connection has done.
#[derive(Clone, Debug)]
pub struct Flood {
    resets: FloodBudget,
    idle_frames: FloodBudget,
    crumbs: FloodBudget,
    /// When a head began that is not complete yet.
    head: Option<Instant>,
    /// The frame that came last ends the head.
    ends_head: bool,
    /// A budget is used up.
    breached: bool,
}

#[derive(Clone, Debug)]
struct FloodBudget {
    most: f64,
    left: f64,
    last: Instant,
}

impl Flood {
    /// A connection that begins at `now`.
    pub fn new(limits: FloodLimits, now: Instant) -> Self {
        let budget = |most: u32| FloodBudget { most: f64::from(most), left: f64::from(most), last: now };
        Self {
            resets: budget(limits.resets),
            idle_frames: budget(limits.idle_frames),
            crumbs: budget(limits.idle_frames.saturating_mul(CRUMBS_PER_IDLE_FRAME)),
            head: None,
            ends_head: false,
            breached: false,
        }
    }

    /// Takes in a frame that the client has begun to send. The one before is complete.
    pub fn frame(&mut self, frame: FrameHead, now: Instant) {
        self.complete();
        let within = match frame.kind {
            // A stream has one such frame.
            kind::DATA if frame.flags & END_STREAM != 0 => true,
            kind::DATA if frame.length >= CRUMB => true,
            kind::DATA if frame.length > 0 => self.crumbs.take(now),
            kind::HEADERS => {
                self.head = Some(now);
                true
            }
            kind::RST_STREAM => self.resets.take(now),
            _ => self.idle_frames.take(now),
        };
        self.ends_head = matches!(frame.kind, kind::HEADERS | kind::CONTINUATION) && frame.flags & END_HEADERS != 0;
        self.breached |= !within;
    }

    /// Takes in that the frame that came last is complete.
    pub fn complete(&mut self) {
        if self.ends_head {
            self.head = None;
        }
    }

    /// Takes in bytes that were sent to the client.
    pub fn sent(&mut self, bytes: usize) {
        #[allow(clippy::cast_precision_loss)]
        self.idle_frames.give((bytes as u64 / BYTES_PER_FRAME) as f64 + FRAMES_PER_SEND);
    }

    /// Takes in an exchange that was served to its end.
    pub fn served(&mut self) {
        self.resets.give(1.0);
    }

    /// When the head began that the client has not completed yet.
    pub fn head_since(&self) -> Option<Instant> {
        self.head
    }

    /// Whether the client has gone too far. It stays so.
    pub fn is_breached(&self) -> bool {
        self.breached
    }
}

impl FloodBudget {
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.since(self.last).as_secs_f64();
        self.last = self.last.max(now);
        self.give(self.most * passed / REFILL);
        self.left -= 1.0;
        self.left >= 0.0
    }

    fn give(&mut self, more: f64) {
        self.left = (self.left + more).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: FloodLimits = FloodLimits { resets: 10, idle_frames: 20 };
    const START: Instant = Instant::from_nanos(1);

    fn frame(kind: u8, length: u32) -> FrameHead {
        FrameHead { length, kind, flags: 0 }
    }

    fn after(flood: &mut Flood, count: usize, kind: u8, now: Instant) -> bool {
        (0..count).for_each(|_| flood.frame(frame(kind, 0), now));
        flood.is_breached()
    }

    #[test]
    fn a_budget_may_be_used_up_and_no_more() {
        for (kind, most) in
            [(kind::RST_STREAM, 10), (kind::DATA, 20), (kind::CONTINUATION, 20), (4, 20), (6, 20), (77, 20)]
        {
            let mut flood = Flood::new(LIMITS, START);
            assert!(!after(&mut flood, most, kind, START), "{kind}");
            assert!(after(&mut flood, 1, kind, START), "{kind}");
        }
    }

    #[test]
    fn time_and_work_fill_budgets_again() {
        let mut flood = Flood::new(LIMITS, START);
        assert!(!after(&mut flood, 10, kind::RST_STREAM, START));
        flood.served();
        assert!(!after(&mut flood, 1, kind::RST_STREAM, START));
        let later = START.saturating_add(Duration::from_secs(30));
        assert!(!after(&mut flood, 5, kind::RST_STREAM, later));
        assert!(!after(&mut flood, 20, 8, later));
        flood.sent(64 * 4);
        assert!(!after(&mut flood, 20, 8, later));
        assert!(after(&mut flood, 1, 8, later));
    }

    #[test]
    fn bodies_and_heads_are_free_and_a_head_is_timed_until_it_is_complete() {
        let mut flood = Flood::new(LIMITS, START);
        for _ in 0..1000 {
            flood.frame(frame(kind::DATA, CRUMB), START);
            flood.frame(FrameHead { length: 0, kind: kind::DATA, flags: END_STREAM }, START);
            flood.frame(FrameHead { length: 9, kind: kind::HEADERS, flags: END_HEADERS }, START);
        }
        // The last one has been announced only.
        assert!(!flood.is_breached() && flood.head_since() == Some(START));
        flood.complete();
        assert_eq!(flood.head_since(), None);
        flood.frame(frame(kind::HEADERS, 9), START);
        flood.complete();
        flood.frame(frame(kind::CONTINUATION, 9), START.saturating_add(Duration::from_secs(1)));
        assert_eq!(flood.head_since(), Some(START));
        flood.frame(FrameHead { length: 0, kind: kind::CONTINUATION, flags: END_HEADERS }, START);
        flood.complete();
        assert_eq!(flood.head_since(), None);
    }

    #[test]
    fn crumbs_have_a_larger_budget() {
        let mut flood = Flood::new(LIMITS, START);
        let crumb = frame(kind::DATA, CRUMB - 1);
        let most = LIMITS.idle_frames * CRUMBS_PER_IDLE_FRAME;
        (0..most).for_each(|_| flood.frame(crumb, START));
        assert!(!flood.is_breached());
        flood.frame(crumb, START);
        assert!(flood.is_breached());
    }
}
