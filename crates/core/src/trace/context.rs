//! The trace context of a request: the `traceparent` field of W3C Trace Context level 2, section 3.2.

use super::state;
use crate::request::hex;

/// Length of the field's value in version 00, in bytes.
pub const TRACEPARENT_LEN: usize = 55;

/// The flags of version 00 (section 3.2.2.5); all others are sent as zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceFlags(u8);

impl TraceFlags {
    /// Whoever sends it may have recorded the trace.
    pub const SAMPLED: u8 = 1;
    /// The last seven bytes of the trace id were chosen at random.
    pub const RANDOM: u8 = 2;

    /// Takes those of a byte that are known.
    pub const fn of(byte: u8) -> Self {
        Self(byte & (Self::SAMPLED | Self::RANDOM))
    }

    /// As one byte.
    pub const fn byte(self) -> u8 {
        self.0
    }

    /// Whether the trace is sampled.
    pub const fn is_sampled(self) -> bool {
        self.0 & Self::SAMPLED != 0
    }

    /// Whether the end of the trace id is random.
    pub const fn is_random(self) -> bool {
        self.0 & Self::RANDOM != 0
    }

    /// The same with another decision.
    #[must_use]
    pub const fn sampled(self, sampled: bool) -> Self {
        Self(self.0 & !Self::SAMPLED | sampled as u8)
    }
}

/// The trace that an exchange belongs to, and its place in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; zero if traces are switched off.
    pub trace_id: u128,
    /// The client's span; zero if the trace begins here.
    pub parent_id: u64,
    /// The span of the exchange.
    pub span_id: u64,
    /// The span of the present attempt, which is the parent of what the instance does.
    pub attempt_id: u64,
    /// The span of the present call of a hook; zero before the first one, and if none is sent.
    pub hook_id: u64,
    /// The client's flags.
    pub flags: TraceFlags,
    /// Whether the exchange is sampled, as instances are told.
    pub sampled: bool,
    /// True if the client's `tracestate` does not go on.
    pub drops_state: bool,
    /// What decides about sampling by ratio: 56 random bits.
    pub draw: u64,
}

impl TraceContext {
    /// Takes the context of a request from its `traceparent` and `tracestate` lines, or begins a new trace if there is
    /// no valid one. Several `traceparent` lines are none. `random` makes ids.
    pub fn receive<'a>(
        mut parents: impl Iterator<Item = &'a [u8]>,
        states: impl Iterator<Item = &'a [u8]>,
        random: [u128; 2],
    ) -> Self {
        let only = parents.next().filter(|_| parents.next().is_none());
        let Some((trace_id, parent_id, flags)) = only.and_then(parse) else { return Self::begin(random) };
        let drawn = if flags.is_random() { trace_id as u64 } else { (random[1] >> 64) as u64 };
        let (span_id, drops_state) = (non_zero(random[1] as u64), !state::is_valid(states));
        Self { trace_id, parent_id, span_id, flags, drops_state, draw: drawn & RANDOM_PART, ..Self::default() }
    }

    /// Begins a new trace. `random` makes ids.
    pub fn begin(random: [u128; 2]) -> Self {
        let trace_id = if random[0] == 0 { 1 } else { random[0] };
        let (span_id, draw) = (non_zero(random[1] as u64), trace_id as u64 & RANDOM_PART);
        Self {
            trace_id,
            span_id,
            flags: TraceFlags::of(TraceFlags::RANDOM),
            draw,
            drops_state: true,
            ..Self::default()
        }
    }

    /// Whether traces are switched on.
    #[inline]
    pub const fn is_known(&self) -> bool {
        self.trace_id != 0
    }

    /// The value of `traceparent` with `span_id` as the parent.
    pub fn traceparent(&self, span_id: u64) -> [u8; TRACEPARENT_LEN] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        text[3..35].copy_from_slice(&hex::digits(self.trace_id));
        text[36..52].copy_from_slice(&hex::digits(span_id.into())[16..]);
        text[53..].copy_from_slice(&hex::digits(self.sent_flags().byte().into())[30..]);
        text
    }

    /// The flags that go on: those of the client with the decision of the gateway.
    pub const fn sent_flags(&self) -> TraceFlags {
        self.flags.sampled(self.sampled)
    }

    /// The trace id as 32 hex digits.
    pub fn trace_digits(&self) -> [u8; 32] {
        hex::digits(self.trace_id)
    }

    /// The id of the exchange's span as 16 hex digits.
    pub fn span_digits(&self) -> [u8; 16] {
        let mut digits = [0; 16];
        digits.copy_from_slice(&hex::digits(self.span_id.into())[16..]);
        digits
    }

    /// The context of what the exchange has begun, and does not wait for.
    #[must_use]
    pub fn below(self, random: u64) -> Self {
        Self { parent_id: self.span_id, span_id: non_zero(random), attempt_id: 0, hook_id: 0, ..self }
    }

    /// Begins the span of the next call of a hook, which hooks see as the current one.
    pub fn begin_hook(&mut self) {
        let before = if self.hook_id == 0 { self.span_id } else { self.hook_id };
        self.hook_id = non_zero(mix(before));
    }

    /// Begins the span of the next attempt, if traces are switched on.
    #[inline]
    pub fn begin_attempt(&mut self, random: u64) {
        if self.is_known() {
            self.attempt_id = non_zero(random);
        }
    }
}

/// The part of a trace id that is random if the flag says so, and of numbers that decide in its place.
pub(super) const RANDOM_PART: u64 = (1 << 56) - 1;

/// A random number as the id of a span, which must not be zero.
pub(super) const fn non_zero(random: u64) -> u64 {
    if random == 0 { 1 } else { random }
}

/// The next number of a sequence that looks random (`SplitMix64`).
const fn mix(before: u64) -> u64 {
    let mut number = before.wrapping_add(0x9E37_79B9_7F4A_7C15);
    number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// Reads trace id, parent id and flags. Of versions above 00 it reads what they have in common with that (section
/// 3.2.4).
fn parse(value: &[u8]) -> Option<(u128, u64, TraceFlags)> {
    let (front, rest) = value.split_first_chunk::<TRACEPARENT_LEN>()?;
    let version = number(&front[..2])?;
    let separated = [2, 35, 52].into_iter().all(|at| front[at] == b'-');
    let ended = rest.is_empty() || version != 0 && rest[0] == b'-';
    if !separated || !ended || version == 0xFF {
        return None;
    }
    let (trace_id, parent_id) = (number(&front[3..35])?, number(&front[36..52])? as u64);
    let flags = TraceFlags::of(number(&front[53..])? as u8);
    (trace_id != 0 && parent_id != 0).then_some((trace_id, parent_id, flags))
}

/// Reads lower-case hex digits, 32 at most.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests;
