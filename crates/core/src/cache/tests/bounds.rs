//! Memory stays within its limit, and frequently used entries stay.

use std::collections::{BTreeMap, HashMap};

use super::*;
use crate::cache::storage::entry::MOST_VARIANTS;
use crate::cache::{CacheStore, Entry, MemoryCacheStore};

/// Returns an entry with a body of this size.
fn entry(bytes: usize) -> Arc<Entry> {
    Arc::new(Entry {
        bytes: [].into(),
        head: pylae_http::ResponseHead::default(),
        body: vec![0; bytes].into(),
        part: None,
        selecting: crate::cache::selection::vary::Selecting::default(),
        control: crate::cache::freshness::control::ResponseControl::default(),
        requested: Instant::from_nanos(1),
        received: Instant::from_nanos(1),
        initial_age: Duration::ZERO,
        lifetime: Duration::from_secs(60),
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        via: pylae_http::encode::Via::default(),
        service: "s".into(),
        asked: None,
        tags: [].into(),
    })
}

/// Size of the distinct random responses that are put into a store of 64 MB: more if set by `PYLAE_CACHE_BYTES`.
fn flood() -> u64 {
    std::env::var("PYLAE_CACHE_BYTES").ok().and_then(|text| text.parse().ok()).unwrap_or(512 << 20)
}

#[test]
fn a_flood_of_distinct_answers_stays_within_the_bound() {
    let bound = 64 << 20;
    let store = MemoryCacheStore::new(bound);
    let mut random = fastrand::Rng::with_seed(7);
    let (mut put, mut key) = (0, 0_u64);
    while put < flood() {
        let bytes = 1 << random.u32(0..21);
        let bytes = random.usize(bytes / 2..=bytes);
        key += 1;
        store.put(&key.to_le_bytes(), entry(bytes));
        put += bytes as u64;
        let (held, entries) = store.held();
        assert!(held <= bound, "{held} bytes in {entries} entries");
    }
    assert!(store.held().0 > bound / 2, "room is left unused");
}

#[test]
fn what_a_store_says_it_holds_is_what_it_holds() {
    let store = MemoryCacheStore::new(1 << 20);
    for key in 0..200_u64 {
        store.put(&key.to_le_bytes(), entry(1000));
        store.put(&key.to_le_bytes(), entry(1000));
    }
    let sum = std::cell::Cell::new(0);
    store.purge(&|key, entry| {
        sum.set(sum.get() + key.len() + entry.weight() + 1);
        true
    });
    assert!(sum.get() > 0 && sum.get() <= 1 << 20);
    assert_eq!(store.held(), (0, 0));
}

#[test]
fn tags_count() {
    let plain = entry(0);
    let tags: Arc<[Box<str>]> = (0..64).map(|number| format!("{number:0>100}").into()).collect();
    let World { cache, .. } = World::new();
    let before = cache.usage().bytes;
    let tagged = World { cache, ..World::with(CacheRules { tags: tags.iter().cloned().collect(), ..rules() }) };
    tagged.fetch("GET /", "200", "x");
    let held = tagged.cache.usage().bytes - before;
    assert!(held > plain.weight() as u64 + 64 * 100, "{held}");
}

#[test]
fn bodies_that_pass_at_the_same_time_are_bounded() {
    let world = World { cache: Cache::new(1 << 20), ..World::new() };
    let begin = |number: usize, length: &str| {
        let mut exchange = world.exchange(&format!("GET /{number}"));
        world.lookup(&mut exchange);
        let framing = world.head(&mut exchange, &format!("200\nContent-Length: {length}"), 0);
        on_response(&mut exchange, &Arc::from("s"), framing);
        exchange
    };
    let mut passing: Vec<Exchange> = (0..5).map(|number| begin(number, "65536")).collect();
    assert_eq!(world.cache.copying(), 1 << 18);
    for exchange in &mut passing {
        exchange.cache_visit().copy_body(&vec![b'x'; 65_536]);
        exchange.cache_visit().complete();
    }
    // The last one went to its client only. Of the others, one may have displaced another.
    assert!((0..4).any(|number| world.holds(&format!("/{number}"))) && !world.holds("/4"));
    assert_eq!(world.cache.copying(), 0);
    // The memory is free again.
    begin(4, "65536").cache_visit().abort();
    assert_eq!(world.cache.copying(), 0);
}

#[test]
fn whatever_becomes_of_bodies_their_room_is_given_back() {
    let world = World { cache: Cache::new(1 << 20), ..World::new() };
    let mut random = fastrand::Rng::with_seed(3);
    let mut under_way: Vec<Exchange> = Vec::new();
    let mut full = 0;
    for number in 0..5000 {
        if under_way.len() < 20 {
            // Some clients already have it: the body is for the cache alone.
            let condition = if random.bool() { "\nIf-None-Match: *" } else { "" };
            let mut exchange = world.exchange(&format!("GET /{number}{condition}"));
            world.lookup(&mut exchange);
            world.head(&mut exchange, "200\nETag: \"1\"", 0);
            on_response(&mut exchange, &Arc::from("s"), Framing::Chunked);
            under_way.push(exchange);
        }
        let at = random.usize(..under_way.len());
        let exchange = &mut under_way[at];
        exchange.cache_visit().copy_body(&vec![0; random.usize(..30_000)]);
        full += usize::from(world.cache.copying() > 200_000);
        assert!(world.cache.copying() <= 1 << 18);
        match random.usize(..10) {
            0 => exchange.cache_visit().complete(),
            1 => exchange.cache_visit().abort(),
            2 => exchange.reset(),
            _ => continue,
        }
        under_way.swap_remove(at);
    }
    assert!(full > 100, "it has come near the bound {full} times");
    drop(under_way);
    assert_eq!(world.cache.copying(), 0);
}

#[test]
fn variants_of_one_key_are_bounded() {
    let world = World::new();
    for number in 0..3 * MOST_VARIANTS {
        world.fetch(&format!("GET /\nX-A: {number}"), "200\nVary: X-A", "x");
    }
    let kept = (0..3 * MOST_VARIANTS).filter(|number| world.ask(&format!("GET /\nX-A: {number}")) == hit("x"));
    let kept: Vec<usize> = kept.collect();
    assert_eq!(kept, (2 * MOST_VARIANTS..3 * MOST_VARIANTS).collect::<Vec<_>>());
}

#[test]
fn a_change_takes_little_else_with_it() {
    let mut world = World::new();
    let entries = 8000;
    for number in 0..entries {
        world.fetch(&format!("GET /{number}"), "200", "x");
    }
    world.at += 1;
    for number in 0..800 {
        world.cache.invalidate(b"h.test", format!("/other/{number}").as_bytes(), world.now());
    }
    let lost = (0..entries).filter(|number| !world.holds(&format!("/{number}"))).count();
    // About one in a hundred, which share a slot.
    assert!(lost < entries / 40, "{lost}");
}

#[test]
fn an_entry_is_at_most_a_sixteenth_of_the_cache() {
    let world = World { cache: Cache::new(1 << 20), ..World::with(CacheRules { max_entry: 1 << 30, ..rules() }) };
    let body = |bytes| "x".repeat(bytes);
    world.fetch("GET /small", "200", &body(1 << 16));
    world.fetch("GET /large", "200", &body((1 << 16) + 1));
    assert!(world.holds("/small") && !world.holds("/large"));
}

/// Ranks by Zipf's law with exponent `s`, by inversion of the summed weights.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(count: u32, s: f64) -> Self {
        let mut sum = 0.0;
        Self(
            (1..=count)
                .map(|rank| {
                    sum += f64::from(rank).powf(-s);
                    sum
                })
                .collect(),
        )
    }

    fn draw(&self, random: &mut fastrand::Rng) -> usize {
        let at = random.f64() * self.0[self.0.len() - 1];
        self.0.partition_point(|sum| *sum < at)
    }
}

/// The store uses the crate's policy and nothing else: on the same trace its hit rate is that of the crate's own cache
/// of as many entries, within 2 %, and better than LRU.
#[test]
fn hits_of_a_zipf_trace_are_those_of_the_crates_policy() {
    const KEYS: u32 = 50_000;
    const ROOM: usize = 2500;
    const TRACE: u32 = 400_000;
    let zipf = Zipf::new(KEYS, 0.9);
    let weight = entry(1000).weight() + 8 + 1;
    let store = MemoryCacheStore::new((ROOM * weight) as u64);
    let crates = quick_cache::sync::Cache::<u64, ()>::new(ROOM);
    let mut lru = Lru::new(ROOM);
    let mut random = fastrand::Rng::with_seed(42);
    let body = entry(1000);
    let (mut ours, mut theirs, mut last) = (0_u32, 0_u32, 0_u32);
    for _ in 0..TRACE {
        let key = zipf.draw(&mut random) as u64;
        match store.get(&key.to_le_bytes()) {
            Some(_) => ours += 1,
            None => store.put(&key.to_le_bytes(), Arc::clone(&body)),
        }
        match crates.get(&key) {
            Some(()) => theirs += 1,
            None => crates.insert(key, ()),
        }
        last += u32::from(lru.touch(key));
    }
    let ratio = |hits: u32| f64::from(hits) / f64::from(TRACE);
    println!("hit ratio: store {:.4}, crate {:.4}, LRU {:.4}", ratio(ours), ratio(theirs), ratio(last));
    assert!((ratio(ours) - ratio(theirs)).abs() < 0.02);
    assert!(ours > last);
}

/// The simplest cache: LRU.
struct Lru {
    room: usize,
    time: u64,
    by_key: HashMap<u64, u64>,
    by_time: BTreeMap<u64, u64>,
}

impl Lru {
    fn new(room: usize) -> Self {
        Self { room, time: 0, by_key: HashMap::default(), by_time: BTreeMap::default() }
    }

    /// Returns true if the key was present.
    fn touch(&mut self, key: u64) -> bool {
        self.time += 1;
        let before = self.by_key.insert(key, self.time);
        self.by_time.insert(self.time, key);
        match before {
            Some(time) => drop(self.by_time.remove(&time)),
            None if self.by_key.len() > self.room => {
                if let Some((_, oldest)) = self.by_time.pop_first() {
                    self.by_key.remove(&oldest);
                }
            }
            None => {}
        }
        before.is_some()
    }
}
