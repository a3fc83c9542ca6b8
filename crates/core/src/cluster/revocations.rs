//! The revocations that a node knows.

use std::collections::HashMap;
use std::time::Duration;

use super::revocation::{Revocation, RevokedName};
use crate::Instant;
use crate::limit::Clocks;

/// Maximum number of revocations that a node makes, and that the live set has. More are refused, because forgetting one
/// would admit its credential again.
pub const MAX_REVOCATIONS: usize = 100_000;
/// Maximum number of revocations that a node holds. While the store is away, other nodes may make some, too.
const MAX_HELD: usize = 2 * MAX_REVOCATIONS;
/// The longest revocation: a hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Revocations, those that the store knows and those that it must still be told.
///
/// Times are the store's. A node reckons them from its own clock and by how much the store's was ahead of it lately.
/// Without a cluster, there is no difference.
#[derive(Debug, Default)]
pub struct RevocationSet {
    held: HashMap<RevokedName, Term>,
    pending: HashMap<RevokedName, PendingTerm>,
    /// True in a cluster.
    shares: bool,
    /// By how many milliseconds the store's clock is ahead.
    ahead: i64,
    /// Counts what was made pending.
    serial: u64,
}

/// When a revocation begins and ends: see [`Revocation`].
#[derive(Clone, Copy, Debug, Default)]
struct Term {
    since: u64,
    until: u64,
}

#[derive(Clone, Copy, Debug)]
struct PendingTerm {
    /// As this node reckons it. The store says what is true.
    term: Term,
    made: Instant,
    serial: u64,
}

/// A revocation that the store must still be told. Its times are relative, so that the store's clock counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingRevocation {
    /// What is revoked.
    pub name: RevokedName,
    /// How many milliseconds ago it was revoked.
    pub age: u64,
    /// For how many more milliseconds.
    pub left: u64,
    serial: u64,
}

impl RevocationSet {
    /// From now on, what is revoked here waits until the store knows it.
    pub fn share(&mut self) {
        self.shares = true;
    }

    /// Says that the store's clock read `store`, in milliseconds since the Unix epoch, at `wall`.
    pub fn set_store_clock(&mut self, store: u64, wall: Duration) {
        self.ahead = i64::try_from(store).unwrap_or(i64::MAX).saturating_sub_unsigned(millis(wall));
    }

    /// Returns the number of revocations.
    pub fn len(&self) -> usize {
        self.held.len() + self.pending.len()
    }

    /// Returns true if there is no revocation.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of revocations that the store must still be told.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Revokes `name` for `span` from now on. Returns false if the maximum number of revocations is reached.
    pub fn revoke(&mut self, name: RevokedName, at: Clocks, span: Duration) -> bool {
        if self.len() >= MAX_REVOCATIONS {
            self.forget_ended(at.wall);
        }
        if self.len() >= MAX_REVOCATIONS {
            return false;
        }
        let now = self.now(at.wall);
        let since = if matches!(name, RevokedName::User(_)) { now / 1000 } else { 0 };
        let term = Term { since, until: now + millis(span.min(LONGEST)) };
        if self.shares {
            self.serial += 1;
            let before = self.pending.get(&name).map_or(term, |pending| pending.term);
            let pending = PendingTerm { term: term.merge(before), made: at.now, serial: self.serial };
            self.pending.insert(name, pending);
        } else {
            self.hold(name, term);
        }
        true
    }

    /// Adds what the store has told. Returns false if there is no room for it.
    pub fn learn(&mut self, revocation: &Revocation, wall: Duration) -> bool {
        if self.held.len() >= MAX_HELD && !self.held.contains_key(&revocation.name) {
            self.forget_ended(wall);
            if self.held.len() >= MAX_HELD {
                return false;
            }
        }
        self.hold(revocation.name, Term { since: revocation.since, until: revocation.until });
        true
    }

    /// Returns up to `most` revocations that the store must be told.
    pub fn to_publish(&self, at: Clocks, most: usize) -> Vec<PendingRevocation> {
        let now = self.now(at.wall);
        let pending = self.pending.iter().take(most);
        let relative = |(name, pending): (&RevokedName, &PendingTerm)| PendingRevocation {
            name: *name,
            age: millis(at.now.since(pending.made)),
            left: pending.term.until.saturating_sub(now),
            serial: pending.serial,
        };
        pending.map(relative).collect()
    }

    /// The store knows `published` now and has made `revocation` of it, or has no room for it (None); then this node
    /// alone holds it.
    pub fn settle(&mut self, published: &PendingRevocation, revocation: Option<&Revocation>) {
        let Some(pending) = self.pending.get(&published.name).copied() else { return };
        match revocation {
            Some(revocation) => self.hold(revocation.name, Term { since: revocation.since, until: revocation.until }),
            None => self.hold(published.name, pending.term),
        }
        // It may have been revoked once more meanwhile.
        if pending.serial == published.serial {
            self.pending.remove(&published.name);
        }
    }

    /// Returns all that the store should know.
    pub fn held(&self) -> impl Iterator<Item = Revocation> {
        self.held.iter().map(|(name, term)| Revocation { name: *name, since: term.since, until: term.until })
    }

    /// Returns true if `name` is revoked. Without `issued`, a credential counts as issued before the revocation.
    pub fn covers(&self, name: RevokedName, issued: Option<Duration>, wall: Duration) -> bool {
        let now = self.now(wall);
        let in_force = |term: &Term| {
            let is_user = matches!(name, RevokedName::User(_));
            now < term.until && !(is_user && issued.is_some_and(|issued| issued.as_secs() > term.since))
        };
        self.held.get(&name).is_some_and(in_force) || self.pending.get(&name).is_some_and(|own| in_force(&own.term))
    }

    /// Forgets what has ended.
    pub fn forget_ended(&mut self, wall: Duration) {
        let now = self.now(wall);
        self.held.retain(|_, term| term.until > now);
        self.pending.retain(|_, pending| pending.term.until > now);
    }

    /// The store's time, in milliseconds since the Unix epoch.
    fn now(&self, wall: Duration) -> u64 {
        millis(wall).saturating_add_signed(self.ahead)
    }

    fn hold(&mut self, name: RevokedName, term: Term) {
        let held = self.held.entry(name).or_default();
        *held = held.merge(term);
    }
}

impl Term {
    /// Revokes whatever either of the two does. The order does not matter, nor does a repetition.
    fn merge(self, other: Self) -> Self {
        Self { since: self.since.max(other.since), until: self.until.max(other.until) }
    }
}

/// Returns whole milliseconds.
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
