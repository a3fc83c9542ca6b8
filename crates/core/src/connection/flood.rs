//! Limits what an HTTP/2 client can do that costs the gateway work and the client nothing. Budgets are refilled only by
//! time and useful work.

use pylae_http::http2::frame::{FrameHeader, FrameKind, flag};

use crate::clock::Instant;

/// Sent bytes that pay for one idle frame: the client answers data with acknowledgements and window updates.
const BYTES_PER_FRAME: u64 = 64;
/// Idle frames that each write pays for: small pieces are acknowledged too.
const FRAMES_PER_SEND: f64 = 16.0;
/// A DATA frame with fewer body bytes is a crumb. A gRPC message has at least as many, and so has a client's WebSocket
/// frame.
const CRUMB: u32 = 5;
/// Crumbs allowed for each idle frame: they carry data, if hardly more than a client needs to keep the gateway busy.
const CRUMBS_PER_IDLE_FRAME: u32 = 64;
/// Seconds in which an empty budget is refilled.
const REFILL: f64 = 60.0;

/// Limits of one connection.
#[derive(Clone, Copy, Debug)]
pub struct FloodLimits {
    /// Burst of streams that the client may reset, or have the gateway reset.
    pub resets: u32,
    /// Burst of frames with neither a head nor body bytes; of frames with hardly any, 64 times as many.
    pub idle_frames: u32,
}

/// Budgets of one connection.
#[derive(Clone, Debug)]
pub struct Flood {
    resets: FloodBudget,
    idle_frames: FloodBudget,
    crumbs: FloodBudget,
    /// When a head began that is still incomplete.
    head: Option<Instant>,
    /// True if the last frame ends the head.
    ends_head: bool,
    /// True once a budget is exhausted.
    breached: bool,
}

#[derive(Clone, Debug)]
struct FloodBudget {
    most: f64,
    left: f64,
    last: Instant,
}

impl Flood {
    /// Creates the budgets of a connection that begins at `now`.
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

    /// Counts a frame that the client has begun to send. The frame before it is complete.
    pub fn on_frame(&mut self, frame: FrameHeader, now: Instant) {
        self.on_frame_complete();
        let within = match frame.kind {
            // Each stream has only one such frame.
            FrameKind::Data if frame.has(flag::END_STREAM) => true,
            FrameKind::Data if frame.length >= CRUMB => true,
            FrameKind::Data if frame.length > 0 => self.crumbs.spend(now),
            FrameKind::Headers => {
                self.head = Some(now);
                true
            }
            FrameKind::RstStream => self.resets.spend(now),
            _ => self.idle_frames.spend(now),
        };
        self.ends_head =
            matches!(frame.kind, FrameKind::Headers | FrameKind::Continuation) && frame.has(flag::END_HEADERS);
        self.breached |= !within;
    }

    /// Counts streams that the gateway had to reset because of mistakes of the client.
    pub fn on_faults(&mut self, faults: u32, now: Instant) {
        for _ in 0..faults {
            self.breached |= !self.resets.spend(now);
        }
    }

    /// Records that the last frame is complete.
    pub fn on_frame_complete(&mut self) {
        if self.ends_head {
            self.head = None;
        }
    }

    /// Counts bytes sent to the client.
    pub fn on_sent(&mut self, bytes: usize) {
        #[allow(clippy::cast_precision_loss)]
        self.idle_frames.refill((bytes as u64 / BYTES_PER_FRAME) as f64 + FRAMES_PER_SEND);
    }

    /// Counts an exchange that was served completely.
    pub fn on_served(&mut self) {
        self.resets.refill(1.0);
    }

    /// Returns when the head began that is still incomplete.
    pub fn head_since(&self) -> Option<Instant> {
        self.head
    }

    /// Returns true once the client has exceeded a limit. It stays so.
    pub fn is_breached(&self) -> bool {
        self.breached
    }
}

impl FloodBudget {
    fn spend(&mut self, now: Instant) -> bool {
        let passed = now.since(self.last).as_secs_f64();
        self.last = self.last.max(now);
        self.refill(self.most * passed / REFILL);
        self.left -= 1.0;
        self.left >= 0.0
    }

    fn refill(&mut self, more: f64) {
        self.left = (self.left + more).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: FloodLimits = FloodLimits { resets: 10, idle_frames: 20 };
    const START: Instant = Instant::from_nanos(1);

    fn on_frame(kind: FrameKind, length: u32) -> FrameHeader {
        FrameHeader { length, kind, flags: 0, stream: 1 }
    }

    fn flagged(kind: FrameKind, length: u32, flags: u8) -> FrameHeader {
        FrameHeader { flags, ..on_frame(kind, length) }
    }

    fn after(flood: &mut Flood, count: usize, kind: FrameKind, now: Instant) -> bool {
        (0..count).for_each(|_| flood.on_frame(on_frame(kind, 0), now));
        flood.is_breached()
    }

    #[test]
    fn a_budget_may_be_used_up_and_no_more() {
        for (kind, most) in [
            (FrameKind::RstStream, 10),
            (FrameKind::Data, 20),
            (FrameKind::Continuation, 20),
            (FrameKind::Settings, 20),
            (FrameKind::Ping, 20),
            (FrameKind::Unknown(77), 20),
        ] {
            let mut flood = Flood::new(LIMITS, START);
            assert!(!after(&mut flood, most, kind, START), "{kind:?}");
            assert!(after(&mut flood, 1, kind, START), "{kind:?}");
        }
    }

    #[test]
    fn time_and_work_fill_budgets_again() {
        let mut flood = Flood::new(LIMITS, START);
        assert!(!after(&mut flood, 10, FrameKind::RstStream, START));
        flood.on_served();
        assert!(!after(&mut flood, 1, FrameKind::RstStream, START));
        let later = START.saturating_add(Duration::from_secs(30));
        assert!(!after(&mut flood, 5, FrameKind::RstStream, later));
        assert!(!after(&mut flood, 20, FrameKind::WindowUpdate, later));
        flood.on_sent(64 * 4);
        assert!(!after(&mut flood, 20, FrameKind::WindowUpdate, later));
        assert!(after(&mut flood, 1, FrameKind::WindowUpdate, later));
    }

    #[test]
    fn bodies_and_heads_are_free_and_a_head_is_timed_until_it_is_complete() {
        let mut flood = Flood::new(LIMITS, START);
        for _ in 0..1000 {
            flood.on_frame(on_frame(FrameKind::Data, CRUMB), START);
            flood.on_frame(flagged(FrameKind::Data, 0, flag::END_STREAM), START);
            flood.on_frame(flagged(FrameKind::Headers, 9, flag::END_HEADERS), START);
        }
        // The last one has been announced only.
        assert!(!flood.is_breached() && flood.head_since() == Some(START));
        flood.on_frame_complete();
        assert_eq!(flood.head_since(), None);
        flood.on_frame(on_frame(FrameKind::Headers, 9), START);
        flood.on_frame_complete();
        flood.on_frame(on_frame(FrameKind::Continuation, 9), START.saturating_add(Duration::from_secs(1)));
        assert_eq!(flood.head_since(), Some(START));
        flood.on_frame(flagged(FrameKind::Continuation, 0, flag::END_HEADERS), START);
        flood.on_frame_complete();
        assert_eq!(flood.head_since(), None);
    }

    #[test]
    fn crumbs_have_a_larger_budget() {
        let mut flood = Flood::new(LIMITS, START);
        let crumb = on_frame(FrameKind::Data, CRUMB - 1);
        let most = LIMITS.idle_frames * CRUMBS_PER_IDLE_FRAME;
        (0..most).for_each(|_| flood.on_frame(crumb, START));
        assert!(!flood.is_breached());
        flood.on_frame(crumb, START);
        assert!(flood.is_breached());
    }
}
