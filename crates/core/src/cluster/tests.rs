//! The parts of it. How nodes come to agree is in `tests/cluster.rs` of this crate.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::message::Message;
use super::*;
use crate::Instant;
use crate::cache::Purge;
use crate::limit::Clocks;

fn at(seconds: u64) -> Clocks {
    Clocks { now: Instant::from_nanos(seconds * 1_000_000_000), wall: Duration::from_secs(seconds) }
}

fn changed(host: &[u8], path: &[u8]) -> CacheChange {
    CacheChange::Changed { host: host.into(), path: path.into() }
}

const USER: Revoked<'_> = Revoked::User("ada");
const SPAN: Duration = Duration::from_secs(60);

#[test]
fn a_revocation_of_a_user_is_about_what_was_issued_before() {
    let (mut set, name) = (RevocationSet::default(), RevokedName::from(USER));
    assert!(set.revoke(name, at(100), SPAN));
    let covers = |issued: u64, now: u64| set.covers(name, Some(Duration::from_secs(issued)), Duration::from_secs(now));
    assert!(covers(100, 100) && covers(0, 159));
    assert!(!covers(101, 101) && !covers(100, 160));
    assert!(set.covers(name, None, Duration::from_secs(159)));
    assert!(!set.covers(RevokedName::from(Revoked::Token("ada")), None, Duration::from_secs(100)));
}

#[test]
fn a_later_shorter_revocation_ends_no_longer_one() {
    let (mut set, name) = (RevocationSet::default(), RevokedName::from(Revoked::Token("a")));
    assert!(set.revoke(name, at(100), SPAN) && set.revoke(name, at(101), Duration::from_secs(1)));
    assert!(set.covers(name, None, Duration::from_secs(159)));
    assert_eq!(set.len(), 1);
}

#[test]
fn the_clock_of_the_store_counts() {
    let (mut set, name) = (RevocationSet::default(), RevokedName::from(USER));
    set.share();
    // The store's clock is an hour ahead.
    set.set_store_clock(3_700_000, Duration::from_secs(100));
    assert!(set.revoke(name, at(100), SPAN));
    assert!(set.covers(name, Some(Duration::from_secs(3_700)), Duration::from_secs(159)));
    assert!(!set.covers(name, Some(Duration::from_secs(3_701)), Duration::from_secs(159)));
    assert!(!set.covers(name, None, Duration::from_secs(160)));
    // It is published later, by how long ago that was.
    let [pending] = set.to_publish(at(110), 10)[..] else { panic!() };
    assert_eq!((pending.age, pending.left), (10_000, 50_000));
    let made = Revocation { name, since: 3_699, until: 3_759_000 };
    set.settle(&pending, Some(&made));
    assert_eq!((set.pending(), set.held().collect::<Vec<_>>()), (0, vec![made]));
    assert!(!set.covers(name, Some(Duration::from_secs(3_700)), Duration::from_secs(110)));
}

#[test]
fn what_is_revoked_again_while_it_is_published_stays_pending() {
    let (mut set, name) = (RevocationSet::default(), RevokedName::from(USER));
    set.share();
    assert!(set.revoke(name, at(100), SPAN));
    let [pending] = set.to_publish(at(100), 10)[..] else { panic!() };
    assert!(set.revoke(name, at(101), SPAN));
    set.settle(&pending, Some(&Revocation { name, since: 100, until: 160_000 }));
    assert_eq!(set.pending(), 1);
    assert!(set.covers(name, Some(Duration::from_secs(101)), Duration::from_secs(101)));
    // The store has no room for it: this node holds it alone.
    let [pending] = set.to_publish(at(101), 10)[..] else { panic!() };
    set.settle(&pending, None);
    assert_eq!((set.pending(), set.len()), (0, 1));
    assert!(set.covers(name, Some(Duration::from_secs(101)), Duration::from_secs(101)));
}

#[test]
fn the_set_is_bounded_and_forgets_none_that_is_in_force() {
    let mut set = RevocationSet::default();
    let name = |number: usize| RevokedName::Token(number as u128);
    for number in 0..MAX_REVOCATIONS {
        assert!(set.revoke(name(number), at(0), Duration::from_secs(if number == 0 { 1000 } else { 10 })));
    }
    assert!(!set.revoke(name(MAX_REVOCATIONS), at(9), SPAN));
    // What other nodes have revoked has room of its own.
    for number in MAX_REVOCATIONS..2 * MAX_REVOCATIONS {
        assert!(set.learn(&Revocation { name: name(number), since: 0, until: 10_000 }, SPAN / 10));
    }
    let more = Revocation { name: name(2 * MAX_REVOCATIONS), since: 0, until: 20_000 };
    assert!(!set.learn(&more, Duration::from_secs(9)));
    assert!(set.learn(&Revocation { until: 11_000, ..more }, Duration::from_secs(10)), "what has ended makes room");
    assert_eq!(set.len(), 2);
    assert!(set.covers(name(0), None, Duration::from_secs(999)));
    assert!(set.revoke(name(1), at(10), SPAN));
}

#[test]
fn the_store_has_no_names_in_the_clear() {
    let name = RevokedName::from(Revoked::User("ada"));
    // printf %s ada | sha256sum
    assert_eq!(name.text(), "user:fdee430d40bd57deeac186cd9790033d");
    let revocation = Revocation { name, since: 7, until: 9 };
    assert_eq!(Revocation::read(revocation.member().as_bytes(), 9), Some(revocation));
    for other in ["", "user", "user:x:1", "session:00:1", "token:00", "token:00:", "token:00:x"] {
        assert_eq!(Revocation::read(other.as_bytes(), 9), None, "{other}");
    }
}

#[test]
fn an_outbox_that_overflows_purges_everything() {
    let woken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&woken);
    let outbox = Outbox::new(Box::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    }));
    let change = |number: u64| changed(b"shop", &number.to_le_bytes());
    (0..100).for_each(|number| outbox.push(change(number / 2)));
    assert_eq!(woken.load(Ordering::Relaxed), 1);
    let first = outbox.take(20, usize::MAX);
    assert_eq!(first, (0..20).map(change).collect::<Vec<_>>());
    outbox.put_back(first);
    assert_eq!(outbox.take(usize::MAX, usize::MAX), (0..50).map(change).collect::<Vec<_>>());
    assert_eq!(outbox.take(1, 1), []);
    outbox.push(change(1));
    outbox.push(change(2));
    assert_eq!(outbox.take(2, 1), [change(1)], "a long one is sent alone");
    (0..10_000).for_each(|number| outbox.push(change(number)));
    assert_eq!(outbox.take(usize::MAX, usize::MAX), [CacheChange::Purge(Purge::All)]);
    outbox.push(changed(b"", &vec![b'a'; 2 * 1024 * 1024]));
    outbox.push(change(1));
    assert_eq!(outbox.take(usize::MAX, usize::MAX), [CacheChange::Purge(Purge::All)]);
}

#[test]
fn what_a_later_version_says_is_noticed() {
    let mut follower = Follower::new(b"me");
    let head = StreamHead { epoch: (*b"e").into(), number: 1, id: StreamId { time: 1, sequence: 0 } };
    follower.ask_head();
    assert!(follower.on_head(head).missed_changes);
    let fields = [("epoch", "e"), ("number", "2"), ("after", "1-0"), ("origin", "you"), ("revoked", "session:00:1 9")];
    let mut entry = StreamEntry { id: StreamId { time: 2, sequence: 0 }, fields: fields.to_vec() };
    let strange = Learned { strange_revocations: 1, ..Learned::default() };
    assert_eq!(follower.on_entries(&[entry.clone()]), strange);
    entry.id.time = 3;
    entry.fields.splice(1..5, [("number", "3"), ("after", "2-0"), ("origin", "you"), ("replaced", "x")]);
    assert!(follower.on_entries(&[entry]).missed_changes);
}

proptest! {
    #[test]
    fn changes_are_read_as_they_were_written(host: Vec<u8>, path: Vec<u8>, tag: String) {
        let changes = vec![changed(&host, &path), CacheChange::Purge(Purge::Tag(tag)), CacheChange::Purge(Purge::All)];
        let fields = changes.iter().map(CacheChange::field);
        let head = [("epoch", b"e".to_vec()), ("number", b"1".to_vec())];
        let fields = head.into_iter().chain(fields).map(|(name, value)| (name.as_bytes().to_vec(), value)).collect();
        let message = Message::read(&StreamEntry { id: StreamId::default(), fields }).unwrap();
        prop_assert!(message.understood);
        prop_assert_eq!(message.changes, changes);
    }

    #[test]
    fn whatever_is_in_the_stream_is_read(fields: Vec<(Vec<u8>, Vec<u8>)>, value: Vec<u8>) {
        let named = ["epoch", "number", "after", "origin", "revoked", "purge", "changed"];
        let named = named.map(|name| (name.as_bytes().to_vec(), value.clone()));
        let fields = fields.into_iter().chain(named).collect();
        Message::read(&StreamEntry { id: StreamId::default(), fields });
    }

    #[test]
    fn the_order_of_revocations_does_not_matter(terms: Vec<(u64, u64)>) {
        let name = RevokedName::User(1);
        let all = |terms: &mut dyn Iterator<Item = &(u64, u64)>| {
            let mut set = RevocationSet::default();
            terms.for_each(|(since, until)| {
                assert!(set.learn(&Revocation { name, since: *since, until: *until }, Duration::ZERO));
            });
            set.held().collect::<Vec<_>>()
        };
        prop_assert_eq!(all(&mut terms.iter()), all(&mut terms.iter().rev().chain(&terms)));
    }
}
