//! One address of a service: its location, load and health.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::breaker::Breaker;
use super::hashing::hash;
use crate::clock::{self, Instant};

/// Taken down by active checks.
pub(super) const DOWN: u32 = 1;
/// Ejected by the outcomes of attempts, until `ejected_until`.
pub(super) const EJECTED: u32 = 2;
/// Set to drain by an operator.
pub(super) const DRAINING: u32 = 4;

/// Time over which a measured latency decays.
const MEMORY: Duration = Duration::from_secs(10);
/// Assumed latency of an instance that has not responded yet, in nanoseconds.
const UNMEASURED: f64 = 1e9;

/// One address, shared by all workers and all snapshots that contain it. It has a cache line of its own, because every
/// exchange writes to it.
#[derive(Debug)]
#[repr(align(64))]
pub struct Instance {
    pub(super) started: AtomicU64,
    pub(super) finished: AtomicU64,
    pub(super) flags: AtomicU32,
    /// Failures since the last success.
    pub(super) streak: AtomicU32,
    pub(super) ejected_until: AtomicU64,
    /// When it joined a running service or came up, for slow start; 0 if it was there from the start.
    pub(super) ready_since: AtomicU64,
    latency: AtomicU64,
    latency_at: AtomicU64,
    pub(super) ejections: AtomicU32,
    /// Consecutive successful checks, or failed ones as a negative number.
    pub(super) checks: AtomicI32,
    pub(super) failed: AtomicU64,
    /// Part of `started` that the retry budget has counted.
    pub(super) accounted: AtomicU64,
    pub(super) breaker: Breaker,
    pub(super) key: u64,
    url: Box<str>,
    secure: bool,
    authority: Box<str>,
    host: Box<str>,
    port: u16,
}

impl Instance {
    /// Parses `url`, which is `http://host[:port]` or `https://host[:port]`. `ready_since` is set if the instance joins
    /// a running service.
    pub(super) fn parse(url: &str, ready_since: Option<Instant>) -> Result<Self, &'static str> {
        let (secure, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err("must begin with http:// or https://"),
        };
        let default_port = if secure { 443 } else { 80 };
        let (host, port) = split(rest, default_port)?;
        let name = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let authority = if port == default_port { name } else { format!("{name}:{port}") };
        let key = if secure { hash(format!("https://{authority}").as_bytes()) } else { hash(authority.as_bytes()) };
        Ok(Self {
            started: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            flags: AtomicU32::new(0),
            streak: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            ready_since: AtomicU64::new(ready_since.map_or(0, Instant::as_nanos)),
            latency: AtomicU64::new(0),
            latency_at: AtomicU64::new(0),
            ejections: AtomicU32::new(0),
            checks: AtomicI32::new(0),
            failed: AtomicU64::new(0),
            accounted: AtomicU64::new(0),
            breaker: Breaker::default(),
            key,
            url: url.into(),
            secure,
            authority: authority.into(),
            host: host.into(),
            port,
        })
    }

    /// As written in the plan.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns true if it is reached over TLS.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Value of the Host field.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Name or address to connect to, IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Exchanges in flight over all workers.
    pub fn in_flight(&self) -> u64 {
        // `finished` first: in the other order, exchanges that start and finish in between would make the result
        // negative.
        let finished = self.finished.load(Ordering::Acquire);
        self.started.load(Ordering::Acquire).saturating_sub(finished)
    }

    /// Returns true if an operator has set it to drain; with nothing in flight it may be stopped.
    pub fn is_draining(&self) -> bool {
        self.flags.load(Ordering::Acquire) & DRAINING != 0
    }

    /// Returns true if it can be used as far as the flags in `mask` tell.
    #[inline]
    pub(super) fn is_usable(&self, mask: u32, now: Instant) -> bool {
        let flags = self.flags.load(Ordering::Acquire) & mask;
        flags == 0 || (flags == EJECTED && now.as_nanos() >= self.ejected_until.load(Ordering::Acquire))
    }

    /// Puts it back into use at `now` and resets its counts.
    pub(super) fn mark_ready(&self, now: Instant) {
        self.ready_since.store(now.as_nanos(), Ordering::Relaxed);
        self.streak.store(0, Ordering::Relaxed);
    }

    /// Returns true if an attempt that began at `began` saw the current state: not before the instance came up, was
    /// resumed, or ended its ejection.
    pub(super) fn is_current(&self, began: Instant) -> bool {
        let since = self.ready_since.load(Ordering::Relaxed).max(self.ejected_until.load(Ordering::Relaxed));
        began.as_nanos() >= since
    }

    /// Returns the share of its weight that counts at `now`: 1, or less while it ramps up over `ramp`.
    pub(super) fn readiness(&self, ramp: Duration, now: Instant) -> f64 {
        // Starts at a tenth: without any load it would never warm up.
        const LEAST: f64 = 0.1;
        let since = self.ready_since.load(Ordering::Relaxed).max(self.ejected_until.load(Ordering::Relaxed));
        if since == 0 {
            return 1.0;
        }
        let passed = now.since(Instant::from_nanos(since));
        if passed >= ramp { 1.0 } else { (passed.as_secs_f64() / ramp.as_secs_f64()).max(LEAST) }
    }

    /// Records a latency: the average rises at once and falls slowly (peak EWMA). If two workers record at the same
    /// time, one value may be lost, which is cheaper than synchronising.
    pub(super) fn observe(&self, latency: Duration, failed: bool, now: Instant) {
        let known = f64::from_bits(self.latency.load(Ordering::Relaxed));
        #[allow(clippy::cast_precision_loss)]
        let mut sample = clock::nanos(latency).max(1) as f64;
        if failed {
            // A failure is often fast, and must not attract more requests.
            sample = sample.max((known * 4.0).clamp(1e7, UNMEASURED));
        }
        let kept = self.decay(now);
        let value = if sample > known { sample } else { known * kept + sample * (1.0 - kept) };
        self.latency.store(value.to_bits(), Ordering::Relaxed);
        self.latency_at.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// Returns the smoothed latency in nanoseconds, or 0 if none is known.
    pub(super) fn latency(&self, now: Instant) -> f64 {
        let known = f64::from_bits(self.latency.load(Ordering::Relaxed));
        if known == 0.0 {
            return 0.0;
        }
        known * self.decay(now)
    }

    /// Returns the share of the known latency left after decay.
    fn decay(&self, now: Instant) -> f64 {
        let idle = now.since(Instant::from_nanos(self.latency_at.load(Ordering::Relaxed)));
        let share = idle.as_secs_f64() / MEMORY.as_secs_f64();
        // Near zero, the usual case of busy services, the curve is its tangent, which is much cheaper.
        if share < 1e-3 { 1.0 - share } else { (-share).exp() }
    }

    /// Returns the load for `p2c`: the expected wait after what is in flight.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn load(&self, now: Instant) -> f64 {
        let in_flight = self.in_flight() as f64;
        match self.latency(now) {
            // One exchange measures the latency; others go elsewhere until it has.
            0.0 => in_flight * UNMEASURED,
            latency => latency * (in_flight + 1.0),
        }
    }
}

/// An instance with its settings in this plan.
#[derive(Debug)]
pub(super) struct InstanceSlot {
    pub(super) instance: Arc<Instance>,
    pub(super) weight: u32,
    /// Id in sticky cookies.
    pub(super) sticky: u64,
}

/// Splits what follows the scheme into host, in lower case without brackets, and port.
fn split(rest: &str, default_port: u16) -> Result<(String, u16), &'static str> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if let Some(rest) = rest.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or("the bracket of the IPv6 address is not closed")?;
        let address: Ipv6Addr = host.parse().map_err(|_| "not an IPv6 address in brackets")?;
        let port = if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or("must be http://host:port")?) };
        return Ok((address.to_string(), parse_port(port, default_port)?));
    }
    let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    let named = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    if host.is_empty() || host.len() > 253 || !named {
        return Err("must be http://host:port, where host is a name or an address, without path and user");
    }
    Ok((host.to_ascii_lowercase(), parse_port(port, default_port)?))
}

fn parse_port(port: Option<&str>, default_port: u16) -> Result<u16, &'static str> {
    let Some(port) = port else { return Ok(default_port) };
    let digits = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err("the port must be a number from 1 to 65535"),
    }
}

#[cfg(test)]
mod tests;
