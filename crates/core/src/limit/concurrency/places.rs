//! What the store does with one key of a concurrency limit that several nodes share, as a pure function of a state.
//!
//! `places.lua` does the same in the store, number for number. All times are the store's, in microseconds. A *place* is
//! the room for one exchange in flight. The store knows for each node how many places it has, and until when.

/// How long a node has its places after its last call.
pub const PLACES_LIFETIME: u64 = 5_000_000;

/// Most nodes with places of one key. Others get none.
pub const MOST_HOLDERS: usize = 256;

/// What a node asks of one key.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct PlacesCall {
    /// The node; not 0.
    pub node: u64,
    /// Rises with each call of the node. A call that comes after a later one changes nothing.
    pub number: u64,
    /// Most places of all nodes.
    pub limit: u32,
    /// Places that the node has and keeps: those of its exchanges in flight, and free ones. It has them even if there
    /// are more than the limit, because the exchanges are there.
    pub keep: u32,
    /// Places that it needs.
    pub need: u32,
    /// Places that it would like to have besides.
    pub extra: u32,
    /// `extra` is at most the `share`-th part of what is left.
    pub share: u32,
}

/// The answer to a call.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacesAnswer {
    /// The places of the node now. Less than it keeps only if the call came too late or there are too many nodes.
    pub total: u32,
    /// Places left for everybody.
    pub left: u32,
    /// For how many microseconds the node has them, counted by the node from when it sent the call.
    pub valid_for: u64,
    /// True if the store had something under this key that is no state of places. The limit then counts as used up
    /// until those who have places have said so.
    pub replaced: bool,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
struct PlaceHolder {
    node: u64,
    count: u32,
    until: u64,
    number: u64,
}

/// The places of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    holders: Vec<PlaceHolder>,
}

impl Places {
    /// The state in place of one that cannot be read: all places are somebody's.
    pub fn used_up(now: u64, limit: u32) -> Self {
        Self { holders: vec![PlaceHolder { node: 0, count: limit, until: now + PLACES_LIFETIME, number: 0 }] }
    }

    /// Does what a node asks.
    pub fn apply(&mut self, now: u64, call: &PlacesCall) -> PlacesAnswer {
        self.holders.retain_mut(|holder| {
            // A clock that was set back gives nobody more time than a call would.
            holder.until = holder.until.min(now + PLACES_LIFETIME);
            holder.until > now
        });
        let own = self.holders.iter().position(|holder| holder.node == call.node);
        let sum: u64 = self.holders.iter().map(|holder| u64::from(holder.count)).sum();
        let before = own.map_or(0, |own| self.holders[own].count);
        let others = sum - u64::from(before);
        let room = |taken: u64| u32::try_from(u64::from(call.limit).saturating_sub(taken)).unwrap_or(u32::MAX);
        let is_late = own.is_some_and(|own| self.holders[own].number >= call.number);
        if is_late || own.is_none() && self.holders.len() >= MOST_HOLDERS {
            return PlacesAnswer { left: room(sum), ..PlacesAnswer::default() };
        }
        let free = room(others + u64::from(call.keep));
        let needed = call.need.min(free);
        let extra = call.extra.min((free - needed) / call.share.max(1));
        let count = call.keep.saturating_add(needed + extra);
        let until = now + PLACES_LIFETIME;
        let holder = PlaceHolder { node: call.node, count, until, number: call.number };
        match own {
            Some(own) if count == 0 => drop(self.holders.remove(own)),
            Some(own) => self.holders[own] = holder,
            None if count == 0 => {}
            None => self.holders.push(holder),
        }
        PlacesAnswer { total: count, left: free - needed - extra, valid_for: PLACES_LIFETIME, replaced: false }
    }

    /// Returns in how many microseconds nobody has a place any more.
    pub fn expires_after(&self, now: u64) -> u64 {
        self.holders.iter().map(|holder| holder.until.saturating_sub(now)).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_795_000_000_000_000;

    fn call(node: u64, number: u64, keep: u32, need: u32) -> PlacesCall {
        PlacesCall { node, number, limit: 10, keep, need, extra: 0, share: 4 }
    }

    #[test]
    fn all_nodes_together_stay_within_the_limit() {
        let mut places = Places::default();
        let first = places.apply(START, &call(1, 1, 0, 6));
        assert_eq!((first.total, first.left), (6, 4));
        assert_eq!(places.apply(START, &call(2, 1, 0, 6)).total, 4);
        assert_eq!(places.apply(START, &call(1, 2, 6, 1)).total, 6);
        assert_eq!(places.apply(START, &call(1, 3, 2, 0)).left, 4);
        assert_eq!(places.apply(START, &PlacesCall { extra: 9, ..call(2, 2, 4, 1) }).total, 5, "a quarter of three");
        assert_eq!(places.apply(START, &call(2, 3, 0, 0)).left, 8);
        assert_eq!(places.apply(START, &call(1, 4, 0, 0)).left, 10);
        assert_eq!(places, Places::default());
    }

    #[test]
    fn the_places_of_a_dead_node_come_back() {
        let mut places = Places::default();
        assert_eq!(places.apply(START, &call(1, 1, 0, 10)).valid_for, PLACES_LIFETIME);
        assert_eq!(places.apply(START + PLACES_LIFETIME - 1, &call(2, 1, 0, 1)).total, 0);
        assert_eq!(places.expires_after(START + 1), PLACES_LIFETIME - 1);
        assert_eq!(places.apply(START + PLACES_LIFETIME, &call(2, 2, 0, 7)).total, 7);
        let back = places.apply(START + PLACES_LIFETIME, &call(1, 2, 10, 1));
        assert_eq!((back.total, back.left), (10, 0), "what is in flight counts");
        assert_eq!(places.apply(START + PLACES_LIFETIME, &call(2, 3, 6, 1)).total, 6);
    }

    #[test]
    fn a_call_that_comes_late_changes_nothing() {
        let mut places = Places::default();
        places.apply(START, &call(1, 2, 0, 8));
        assert_eq!(places.apply(START, &call(1, 1, 3, 0)), PlacesAnswer { left: 2, ..PlacesAnswer::default() });
        assert_eq!(places.apply(START, &call(2, 1, 0, 9)).total, 2);
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nothing_for_longer() {
        let mut places = Places::default();
        places.apply(START + 3_600_000_000, &call(1, 1, 0, 10));
        assert_eq!(places.apply(START, &call(2, 1, 0, 1)).total, 0);
        assert_eq!(places.apply(START + PLACES_LIFETIME, &call(2, 2, 0, 1)).total, 1);
    }

    #[test]
    fn holders_are_bounded() {
        let mut places = Places::default();
        let ask = |node| PlacesCall { limit: 1000, ..call(node, 1, 0, 1) };
        let got = (1..=300).filter(|node| places.apply(START, &ask(*node)).total == 1).count();
        assert_eq!((got, places.holders.len()), (MOST_HOLDERS, MOST_HOLDERS));
    }
}
