//! Follows the stream: asks the store, reads entries, and publishes what waits.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pylae_core::cache::Purge;
use pylae_core::cluster::{CacheChange, Follower, Learned, Query, StreamEntry};
use pylae_core::limit::Clocks;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::ClusterFeed;
use super::wire::{self, FeedAnswer};
use crate::io::clock;
use crate::store::{Reach, StoreError};

/// How often the store is asked where the stream is, while nothing happens.
const INTERVAL: Duration = Duration::from_secs(1);
/// The pause after a failure, and while the store is away. Both end when it is back.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_AWAY: Duration = Duration::from_secs(1);
/// How often revocations that have ended are forgotten.
const TIDY: Duration = Duration::from_secs(60);
/// The most entries that are read at once.
const ENTRIES: u32 = 64;

type Entries = Result<Vec<StreamEntry<Vec<u8>>>, StoreError>;
type Answered = (Query, Result<FeedAnswer, StoreError>);
type PendingCall<T> = Option<Pin<Box<dyn Future<Output = T>>>>;

/// The state of the task.
struct Following {
    feed: Arc<ClusterFeed>,
    follower: Follower,
    /// Counts names for epochs.
    names: u64,
    asking: PendingCall<Answered>,
    reading: PendingCall<Entries>,
    reach: watch::Receiver<Reach>,
    next_head: Instant,
    next_tidy: Instant,
    /// Nothing is asked or read before, because of a failure.
    ask_after: Instant,
    read_after: Instant,
}

enum FeedEvent {
    Answered(Query, Result<FeedAnswer, StoreError>),
    Read(Entries),
    Reach,
    Wake,
}

impl ClusterFeed {
    /// Follows the stream, for ever.
    pub(crate) async fn follow(self: Arc<Self>) {
        if self.followed.swap(true, Ordering::Relaxed) {
            // Changes that were being published may be lost after a panic.
            self.outbox.push(CacheChange::Purge(Purge::All));
        }
        let work = Arc::clone(&self.work);
        let mut following = Following::new(self);
        loop {
            following.begin();
            let wake_at = following.wake_at();
            let event = tokio::select! {
                (query, answer) = next(&mut following.asking) => FeedEvent::Answered(query, answer),
                entries = next(&mut following.reading) => FeedEvent::Read(entries),
                Ok(()) = following.reach.changed() => FeedEvent::Reach,
                () = work.notified() => FeedEvent::Wake,
                () = sleep_until(wake_at) => FeedEvent::Wake,
            };
            following.take(event);
        }
    }
}

impl Following {
    fn new(feed: Arc<ClusterFeed>) -> Self {
        let (now, reach) = (Instant::now(), feed.store.reach());
        Self {
            follower: Follower::new(&origin()),
            feed,
            names: 0,
            asking: None,
            reading: None,
            reach,
            next_head: now,
            next_tidy: now + TIDY,
            ask_after: now,
            read_after: now,
        }
    }

    /// Begins whatever there is to ask and to read.
    fn begin(&mut self) {
        let now = Instant::now();
        if now >= self.next_tidy {
            self.next_tidy = now + TIDY;
            self.feed.policies.identity.with_revocations(|set| set.forget_ended(clock::wall()));
        }
        if self.asking.is_none() && now >= self.ask_after {
            self.ask(now);
        }
        if self.reading.is_none() && now >= self.read_after {
            self.read();
        }
    }

    fn ask(&mut self, now: Instant) {
        let (feed, follower) = (Arc::clone(&self.feed), &mut self.follower);
        let at = Clocks { now: clock::now(), wall: clock::wall() };
        let query = feed.policies.identity.with_revocations(|set| follower.query(set, &feed.outbox, at));
        let Some(query) = query.or_else(|| (now >= self.next_head).then(|| follower.ask_head())) else { return };
        match &query {
            Query::Head { .. } => self.next_head = now + INTERVAL,
            Query::Page { .. } => {}
            Query::Publish(_) => feed.publishing.store(true, Ordering::Relaxed),
        }
        self.names += 1;
        let another = format!("{}-{}", String::from_utf8_lossy(follower.origin()), self.names);
        let call = wire::call(&query, feed.store.key("stream"), another, follower.origin());
        self.asking = Some(Box::pin(async move {
            let mut results = feed.store.run(vec![call]).await;
            let answer = results.pop().unwrap_or(Err(StoreError::Unavailable)).and_then(|answer| {
                let unreadable = || StoreError::Refused("the answer about the stream cannot be read".to_owned());
                wire::read(&query, &answer).ok_or_else(unreadable)
            });
            (query, answer)
        }));
    }

    fn read(&mut self) {
        let Some(position) = self.follower.position() else { return };
        let feed = Arc::clone(&self.feed);
        let key = feed.store.key("stream");
        self.reading = Some(Box::pin(async move { feed.store.read_stream(key, position, ENTRIES).await }));
    }

    /// When there is something to begin, if nothing happens before. Never now, because what can be begun was begun.
    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let ask_at = if self.ask_after > now { self.ask_after } else { self.next_head };
        let asks = self.asking.is_none().then_some(ask_at);
        let reads = (self.reading.is_none() && self.follower.position().is_some()).then_some(self.read_after);
        [asks, reads].into_iter().flatten().fold(self.next_tidy, Instant::min)
    }

    fn take(&mut self, event: FeedEvent) {
        let before = self.follower.position();
        let learned = match event {
            FeedEvent::Answered(query, Ok(answer)) => self.on_answer(query, answer),
            FeedEvent::Answered(query, Err(error)) => {
                self.on_failure(query, &error);
                Learned::default()
            }
            FeedEvent::Read(Ok(entries)) => {
                self.feed.entries.fetch_add(entries.len() as u64, Ordering::Relaxed);
                let learned = self.follower.on_entries(&entries);
                if self.follower.position() == before {
                    // There is nothing of ours. They would be read again at once.
                    self.read_after = Instant::now() + PAUSE;
                }
                learned
            }
            FeedEvent::Read(Err(_)) => {
                self.read_after = self.after_pause();
                Learned::default()
            }
            FeedEvent::Reach => {
                // Another server may have taken over.
                self.reading = None;
                (self.ask_after, self.read_after, self.next_head) = (Instant::now(), Instant::now(), Instant::now());
                Learned::default()
            }
            FeedEvent::Wake => return,
        };
        if self.follower.position() != before {
            self.reading = None;
        }
        if learned.missed_changes {
            self.feed.catch_ups.fetch_add(1, Ordering::Relaxed);
        }
        self.feed.apply(learned);
        let current = self.follower.is_current();
        self.feed.current.send_if_modified(|before| std::mem::replace(before, current) != current);
    }

    fn on_answer(&mut self, query: Query, answer: FeedAnswer) -> Learned {
        let (identity, follower) = (&self.feed.policies.identity, &mut self.follower);
        match (query, answer) {
            (_, FeedAnswer::Head(head, time)) => {
                identity.with_revocations(|set| set.set_store_clock(time, clock::wall()));
                follower.on_head(head)
            }
            (Query::Page { reading, .. }, FeedAnswer::Page(page)) => {
                let revocations = page.revocations.clone();
                self.feed.apply(Learned { revocations, ..Learned::default() });
                identity.with_revocations(|set| follower.on_page(reading, page, set))
            }
            (Query::Publish(publication), FeedAnswer::Published(published)) => {
                let learned = identity.with_revocations(|set| follower.on_published(&publication, published, set));
                self.feed.publishing.store(false, Ordering::Relaxed);
                self.feed.published.send_modify(|entries| *entries += 1);
                learned
            }
            // An answer is read as what was asked for.
            _ => Learned::default(),
        }
    }

    fn on_failure(&mut self, query: Query, error: &StoreError) {
        if matches!(query, Query::Publish(_)) {
            self.feed.publishing.store(false, Ordering::Relaxed);
        }
        self.follower.on_failure(query, &self.feed.outbox);
        self.ask_after = self.after_pause();
        if let StoreError::Refused(_) = error {
            self.feed.reports.report(&self.feed.log, clock::now(), "stream_refused", || {
                format!("revocations and purges are not shared with other nodes for now: {error}")
            });
        }
    }

    fn after_pause(&self) -> Instant {
        Instant::now() + if self.feed.store.is_available() { PAUSE } else { PAUSE_AWAY }
    }
}

/// Waits for what is under way, if anything is.
async fn next<T>(waiting: &mut PendingCall<T>) -> T {
    let Some(future) = waiting else { return std::future::pending().await };
    let output = future.await;
    *waiting = None;
    output
}

/// A name that no other node and no earlier run has.
fn origin() -> Vec<u8> {
    let random = (0..2).map(|_| format!("{:016x}", fastrand::u64(..)));
    let start = clock::wall().as_nanos();
    random.chain([format!("{start:x}")]).collect::<String>().into_bytes()
}
