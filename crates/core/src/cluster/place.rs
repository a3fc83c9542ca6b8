//! Where a node is in the stream, and how it notices that it has missed something.

use std::cmp::Ordering;
use std::collections::VecDeque;

use super::message::Message;
use super::stream::{StreamHead, StreamId};

/// How many entries are remembered, to find that the store has lost one of them. As many as it keeps.
const REMEMBERED: usize = 4096;
/// How many epochs that are over are remembered.
const PAST: usize = 16;

/// The place of a node in the stream.
#[derive(Default)]
pub(super) struct Place {
    /// The newest entry read. None if it is not known what came before.
    at: Option<StreamHead>,
    /// The newest entry that this node knew of when it last asked the store for anything.
    asked: Option<StreamHead>,
    /// Entries of which the store has spoken and that this node has not read yet, in order.
    witnessed: VecDeque<(u64, StreamId)>,
    /// The last entries that were read.
    read: VecDeque<(u64, StreamId)>,
    /// The epoch that must end, so that all nodes learn that the store has lost entries.
    void: Option<Box<[u8]>>,
    /// Epochs that are over. A store that is in one of them has lost what came later.
    past: VecDeque<Box<[u8]>>,
}

/// What the place of a node has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlaceStep {
    /// It is where it was, or further on.
    Same,
    /// It is not known.
    Lost,
    /// It is known again. What came before may have been missed.
    Began,
}

/// Why a node does not know any more where it is.
#[derive(Clone, Copy)]
enum PlaceLoss {
    /// Entries were trimmed before it has read them.
    Gap,
    /// The store is in another epoch.
    OtherEpoch,
    /// The store has lost entries that the node knew.
    Replaced,
}

impl Place {
    /// Returns the newest entry that was read. None if it is not known what came before.
    pub(super) fn at(&self) -> Option<&StreamHead> {
        self.at.as_ref()
    }

    /// Returns the epoch that must end.
    pub(super) fn void(&self) -> Option<&[u8]> {
        self.void.as_deref()
    }

    /// The store is going to be asked. Whatever it says next must not be older than what is known now.
    pub(super) fn ask(&mut self) {
        self.asked = self.newest();
    }

    /// The store has said that `head` is the newest entry.
    pub(super) fn meet(&mut self, head: StreamHead) -> PlaceStep {
        if let Some(void) = self.void.take_if(|void| *void != head.epoch) {
            self.end(void);
        }
        let asked = self.asked.take().filter(|asked| asked.epoch == head.epoch);
        if let Some(at) = &self.at {
            if at.epoch != head.epoch {
                self.lose(PlaceLoss::OtherEpoch);
            } else if asked.is_some_and(|asked| lacks(&head, &asked)) || self.contradicts(&head) {
                self.lose(PlaceLoss::Replaced);
            } else {
                self.witness(&head);
                return PlaceStep::Same;
            }
        }
        if self.past.contains(&head.epoch) {
            self.void = Some(head.epoch.clone());
        }
        if self.void.is_some() {
            return PlaceStep::Lost;
        }
        self.remember(&head);
        self.at = Some(head);
        PlaceStep::Began
    }

    /// An entry after the newest one was read.
    pub(super) fn advance(&mut self, message: &Message) -> PlaceStep {
        let (Some(at), head) = (&self.at, &message.head) else { return PlaceStep::Lost };
        if head.epoch != at.epoch {
            return self.lose(PlaceLoss::OtherEpoch);
        }
        if message.after != at.id {
            // Either those in between are gone, which is usual, or this one has the place of another.
            let replaced = head.number <= at.number + 1;
            return self.lose(if replaced { PlaceLoss::Replaced } else { PlaceLoss::Gap });
        }
        if let Some((_, id)) = self.witnessed.pop_front_if(|(number, _)| *number <= head.number)
            && id != head.id
        {
            return self.lose(PlaceLoss::Replaced);
        }
        self.remember(head);
        self.at = Some(head.clone());
        PlaceStep::Same
    }

    /// Returns the newest entry that this node knows of.
    fn newest(&self) -> Option<StreamHead> {
        let mut newest = self.at.clone()?;
        if let Some((number, id)) = self.witnessed.back() {
            (newest.number, newest.id) = (*number, *id);
        }
        Some(newest)
    }

    /// Returns true if another entry was read in the place of `head`.
    fn contradicts(&self, head: &StreamHead) -> bool {
        let is_other = |(number, id): &(u64, StreamId)| (number.cmp(&head.number)) != id.cmp(&head.id);
        // The newest ones are the likely ones.
        let behind = self.read.iter().rev().take_while(|(number, _)| *number >= head.number).any(is_other);
        behind || self.read.back().is_some_and(is_other)
    }

    fn witness(&mut self, head: &StreamHead) {
        let is_new = self.newest().is_some_and(|newest| newest.number < head.number);
        if is_new && self.witnessed.len() < REMEMBERED {
            self.witnessed.push_back((head.number, head.id));
        }
    }

    fn remember(&mut self, head: &StreamHead) {
        if self.read.len() == REMEMBERED {
            self.read.pop_front();
        }
        self.read.push_back((head.number, head.id));
    }

    /// What was read before is of no use.
    fn lose(&mut self, loss: PlaceLoss) -> PlaceStep {
        if let Some(at) = self.at.take() {
            match loss {
                PlaceLoss::Gap => {}
                PlaceLoss::OtherEpoch => self.end(at.epoch),
                PlaceLoss::Replaced => self.void = Some(at.epoch),
            }
        }
        self.witnessed.clear();
        self.read.clear();
        PlaceStep::Lost
    }

    fn end(&mut self, epoch: Box<[u8]>) {
        if self.past.len() == PAST {
            self.past.pop_front();
        }
        self.past.push_back(epoch);
    }
}

/// Returns true if a stream with this head lacks `entry`, which is of the same epoch.
fn lacks(head: &StreamHead, entry: &StreamHead) -> bool {
    match head.number.cmp(&entry.number) {
        Ordering::Less => true,
        Ordering::Equal => head.id != entry.id,
        Ordering::Greater => head.id <= entry.id,
    }
}
