//! Cookies that name a session and have none, and why: for the log and the metrics. Clients are not told.

pub mod sealer;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::exchange::Exchange;
use crate::exchange::slots::{Feature, FeatureMemory, FeatureSlot};

/// Why a cookie counts as none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSession {
    /// The request has several cookies of its name.
    Several,
    /// It is no sealed session.
    Malformed,
    /// It is sealed with a secret that is not known (any more).
    UnknownKey,
    /// It was changed, or sealed for something else.
    Forged,
    /// Its end is over.
    Expired,
    /// The session, or its user, was revoked.
    Revoked,
    /// Who looked at the session has ended it.
    Ended,
}

impl NoSession {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 7] =
        [Self::Several, Self::Malformed, Self::UnknownKey, Self::Forged, Self::Expired, Self::Revoked, Self::Ended];

    /// The word for it in the log and the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Several => "several",
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::Forged => "forged",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Ended => "ended",
        }
    }
}

/// How many cookies counted as none, by reason.
#[derive(Debug, Default)]
pub struct NoSessionCounts([AtomicU64; NoSession::ALL.len()]);

impl NoSessionCounts {
    /// Counts one.
    pub fn add(&self, why: NoSession) {
        self.0[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the counts by the words for the reasons.
    pub fn all(&self) -> BTreeMap<&'static str, u64> {
        NoSession::ALL.iter().map(|why| (why.name(), self.0[*why as usize].load(Ordering::Relaxed))).collect()
    }
}

/// Why the session cookie of a request counts as none.
#[derive(Debug, Default)]
pub(crate) struct RecordedNoSession(Option<NoSession>);

impl FeatureMemory for RecordedNoSession {
    fn reset(&mut self) {
        self.0 = None;
    }
}

impl Feature for RecordedNoSession {
    const POSITION: FeatureSlot = FeatureSlot::Session;
}

impl Exchange {
    /// Returns why the session cookie of the request counts as none; None if it has none, or a good one.
    pub fn no_session(&self) -> Option<NoSession> {
        self.slots.get::<RecordedNoSession>()?.0
    }

    /// Records why the session cookie of the request counts as none.
    pub fn set_no_session(&mut self, why: NoSession) {
        self.slots.get_or_default::<RecordedNoSession>().0 = Some(why);
    }
}
