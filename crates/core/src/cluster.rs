//! What the nodes of a cluster tell each other: what was revoked, purged and changed.
//!
//! The store holds two things in one hash slot. The *stream* has what happened lately, and every node reads it from
//! where it stopped. The *live set* has all revocations that are in force, for a node that has just started or has
//! missed a part of the stream. A [`Follower`] knows where a node is in the stream and notices whatever it has missed.
//! All that is told may be told twice.

mod follower;
mod message;
mod outbox;
mod place;
mod revocation;
mod revocations;
mod stream;

pub use follower::{Follower, Learned, LivePage, Publication, Published, Query};
pub use message::CacheChange;
pub use outbox::Outbox;
pub use revocation::{Revocation, Revoked, RevokedName};
pub use revocations::{MAX_REVOCATIONS, PendingRevocation, RevocationSet};
pub use stream::{StreamEntry, StreamHead, StreamId};

/// Scripts of the store. Each takes the key of the stream; the live set is beside it, in the same slot.
pub mod scripts {
    /// Arguments: a name for another epoch, and the epoch that must end or nothing. Returns the time in milliseconds,
    /// then epoch, number and place of the newest entry.
    pub const HEAD: &str = concat!(include_str!("cluster/stream.lua"), include_str!("cluster/head.lua"));
    /// Arguments: a name for another epoch; how many members to leave out, and how many to return. Returns epoch,
    /// number and place of the newest entry, and members with their scores.
    pub const PAGE: &str = concat!(include_str!("cluster/stream.lua"), include_str!("cluster/page.lua"));
    /// Arguments: a name for another epoch, the node's name, the most members of the live set, three numbers; as many
    /// names and values of changes; names, ages and remaining times of revocations; members and scores. Returns epoch,
    /// number and place of the newest entry, and for each of the names its member and score, or nothing if there is no
    /// room.
    pub const PUBLISH: &str = concat!(include_str!("cluster/stream.lua"), include_str!("cluster/publish.lua"));
}

#[cfg(test)]
mod tests;
