//! A worker's way to a host and back.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use pylae_core::hook::flat::{FlatMessage, FlatMessageKind, FlatReader, FlatWriter, HEAD, MOST};

use super::bell::WatchedBell;
use super::link::{HostLink, HostState};
use super::memory::{Mad, RingEnd};
use super::turn::{MOST_PIECES, Turn};

/// Most bytes that wait for room in a ring. Beyond that there are no new calls.
const MOST_WAITING: usize = 2 * MOST;

/// Most true costs that wait to be noted. Further ones are dropped.
const MOST_TOLD: usize = 64;

thread_local! {
    /// The lanes of this worker.
    static LANES: RefCell<Vec<Rc<Lane>>> = const { RefCell::new(Vec::new()) };
}

/// The lane of this worker to a host.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) link: Arc<HostLink>,
    index: usize,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    to_host: RingEnd,
    from_host: RingEnd,
    outbox: RingOutbox,
    inbox: Vec<u8>,
    /// The stages that the host knows.
    stages: HashSet<u32>,
    turns: HashMap<u64, Turn, foldhash::fast::FixedState>,
    /// Nothing comes any more: the host is lost.
    is_over: bool,
}

/// Bytes that wait for room in a ring.
#[derive(Debug, Default)]
pub(super) struct RingOutbox {
    pub(super) bytes: Vec<u8>,
    sent: usize,
}

impl RingOutbox {
    /// Writes what there is room for. Returns true if the other end must be woken.
    pub(super) fn flush(&mut self, ring: &mut RingEnd) -> Result<bool, Mad> {
        let before = self.sent;
        while self.sent < self.bytes.len() {
            let count = ring.write(&self.bytes[self.sent..])?;
            if count == 0 {
                break;
            }
            self.sent += count;
        }
        let has_sent = self.sent > before;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(MOST / 64);
            self.sent = 0;
        }
        Ok(has_sent && ring.must_wake())
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }
}

/// Takes whole messages off the front of `inbox`, which `take` gets.
pub(super) fn messages(inbox: &mut Vec<u8>, mut take: impl FnMut(FlatMessage, &[u8])) -> Result<(), Mad> {
    let mut at = 0;
    while let Some(head) = inbox[at..].first_chunk::<HEAD>() {
        let message = FlatMessage::read(head).ok_or(Mad)?;
        let Some(content) = inbox[at + HEAD..].get(..message.len) else { break };
        take(message, content);
        at += HEAD + message.len;
    }
    inbox.drain(..at);
    if inbox.is_empty() {
        inbox.shrink_to(MOST / 64);
    }
    Ok(())
}

impl Lane {
    /// The lane of this worker to a host, if it has one.
    pub(crate) fn known(link: &HostLink) -> Option<Rc<Self>> {
        // Fails when the thread ends.
        let found = LANES.try_with(|lanes| {
            lanes
                .borrow()
                .iter()
                .find(|lane| lane.link.number == link.number && std::ptr::eq(Arc::as_ptr(&lane.link), link))
                .cloned()
        });
        found.ok().flatten()
    }

    /// The lane of this worker to a host, taken on first use; None if the host is lost or has no lane left.
    pub(crate) fn of(link: &Arc<HostLink>) -> Option<Rc<Self>> {
        if link.state() == HostState::Lost {
            return None;
        }
        if let Some(known) = Self::known(link) {
            return Some(known);
        }
        let (index, to_host, from_host) = link.take_lane()?;
        let bell = link.lane_bell(index).watch().ok()?;
        let state = State {
            to_host,
            from_host,
            outbox: RingOutbox::default(),
            inbox: Vec::new(),
            stages: HashSet::new(),
            turns: HashMap::default(),
            is_over: false,
        };
        let lane = Rc::new(Self { link: Arc::clone(link), index, state: RefCell::new(state) });
        LANES.with_borrow_mut(|lanes| lanes.push(Rc::clone(&lane)));
        tokio::task::spawn_local(Rc::clone(&lane).run(bell));
        Some(lane)
    }

    /// Takes what the host sends, until it is lost.
    async fn run(self: Rc<Self>, bell: WatchedBell) {
        loop {
            // Asked before, so that what it has sent until then is taken, whether it has rung or not.
            let is_lost = self.link.state() == HostState::Lost;
            if self.pump().is_err() {
                self.link.condemn("mad");
                self.link.advance(HostState::Lost);
                break;
            }
            if is_lost {
                break;
            }
            bell.rung().await;
        }
        let mut state = self.state.borrow_mut();
        state.is_over = true;
        for turn in state.turns.values_mut() {
            turn.lost = true;
            turn.wake();
        }
        drop(state);
        self.forget();
    }

    /// Forgets the lane once it is over and all its calls are taken.
    fn forget(&self) {
        let state = self.state.borrow();
        if state.is_over && state.turns.is_empty() {
            // Fails when the thread ends.
            let _ = LANES.try_with(|lanes| lanes.borrow_mut().retain(|lane| !std::ptr::eq(Rc::as_ptr(lane), self)));
        }
    }

    fn pump(&self) -> Result<(), Mad> {
        let mut state = self.state.borrow_mut();
        let State { to_host, from_host, outbox, inbox, turns, .. } = &mut *state;
        loop {
            let count = from_host.read(inbox)?;
            let mut wakes = count > 0 && from_host.must_feed();
            let mut is_mad = false;
            messages(inbox, |message, content| is_mad |= !receive(turns, message, content))?;
            if is_mad {
                return Err(Mad);
            }
            wakes |= outbox.flush(to_host)?;
            if wakes {
                self.link.bell.ring();
            }
            if count == 0 && from_host.fall_asleep()? {
                return Ok(());
            }
        }
    }

    /// Sends a message. Returns false if it is too large, too much waits already, or the host is lost.
    pub(crate) fn send(&self, kind: FlatMessageKind, key: u64, write: impl FnOnce(&mut FlatWriter)) -> bool {
        let mut state = self.state.borrow_mut();
        let State { to_host, outbox, is_over, .. } = &mut *state;
        // What only says how far something is belongs to what was sent before, so it has a bound already. Left out, it
        // would stay there for ever.
        let is_note = matches!(kind, FlatMessageKind::Cancel | FlatMessageKind::End | FlatMessageKind::Taken);
        let is_full = outbox.len() > MOST_WAITING && !is_note;
        if *is_over || is_full || !FlatMessage::write(&mut outbox.bytes, kind, key, write) {
            return false;
        }
        match outbox.flush(to_host) {
            Ok(true) => self.link.bell.ring(),
            Ok(false) => {}
            // The task of the lane finds it out, too.
            Err(Mad) => self.link.lane_bell(self.index).ring(),
        }
        true
    }

    /// Tells the host of a stage, unless it knows it.
    pub(crate) fn introduce(&self, number: u32, definition: &[u8]) -> bool {
        let is_known = self.state.borrow().stages.contains(&number);
        if is_known || !self.send(FlatMessageKind::Stage, number.into(), |to| to.0.extend_from_slice(definition)) {
            return is_known;
        }
        self.state.borrow_mut().stages.insert(number)
    }

    /// Adds a call.
    pub(crate) fn begin(&self, key: u64, turn: Turn) {
        self.state.borrow_mut().turns.insert(key, turn);
    }

    /// Takes a call that is over, or that nobody waits for any more.
    pub(crate) fn take(&self, key: u64) -> Option<Turn> {
        let turn = self.state.borrow_mut().turns.remove(&key);
        self.forget();
        turn
    }

    /// Looks at a call.
    pub(crate) fn with<T>(&self, key: u64, look: impl FnOnce(&mut Turn) -> T) -> Option<T> {
        self.state.borrow_mut().turns.get_mut(&key).map(look)
    }
}

/// Takes a message of the host. Returns false for one that it cannot mean. What nobody waits for is dropped.
fn receive(turns: &mut HashMap<u64, Turn, foldhash::fast::FixedState>, message: FlatMessage, content: &[u8]) -> bool {
    let Some(turn) = turns.get_mut(&message.key) else { return true };
    match message.kind {
        FlatMessageKind::Done if turn.done.is_none() => turn.done = Some(content.to_vec()),
        FlatMessageKind::Piece | FlatMessageKind::LastPiece if turn.pieces.len() <= MOST_PIECES && !turn.ended => {
            if !content.is_empty() {
                turn.pieces.push_back(content.to_vec());
            }
            turn.ended = message.kind == FlatMessageKind::LastPiece;
        }
        FlatMessageKind::Taken if turn.untaken > 0 => turn.untaken -= 1,
        FlatMessageKind::Broken => turn.broken = true,
        FlatMessageKind::Cost => match FlatReader::new(content).told() {
            Some(told) if turn.told.len() < MOST_TOLD => turn.told.push(told),
            Some(_) => {}
            None => return false,
        },
        _ => return false,
    }
    turn.wake();
    true
}
