//! Measures the cost of a rate limit: `cargo run --release -p pylae-policies --example limit_figures`.
//!
//! Figures are nanoseconds of processor time. `decision` is the store alone; `shared` is that of a limit that three
//! nodes share, in fast and in exact mode, and what a flush costs for each request. `policy` is everything that the
//! policy does for a request: key, decision and header fields. `one line` is the cost of a lock and one dependent
//! access to a table of the same size, which is the lower bound for a decision that waits for memory once.
//!
//! With arguments it only decides, for a program that counts instructions: `local`, `fast` or `exact`, how many keys,
//! and how many decisions. The difference of two runs with different numbers of decisions is free of the start.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use pylae_core::Exchange;
use pylae_core::clock::Instant;
use pylae_core::limit::shared::Due;
use pylae_core::limit::{
    Charge, ChargeOutcome, ChargeVerdict, Clocks, CounterStore, LedgerAnswer, LedgerCall, Limit, LimitAlgorithm,
    LimitMode, LimitShape, MemoryCounterStore, OnStoreError, SharedCounterStore,
};
use pylae_policies::authentication::Authenticators;
use pylae_policies::rate_limit::RateLimit;
use pylae_policies::{Parts, Policy, PolicyShared};

const SECOND: u64 = 1_000_000_000;
const TURNS: u64 = 4_000_000;
/// High enough that no key reaches it.
const LIMIT: u32 = 100_000_000;
const MAX_KEYS: usize = 1_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [what, keys, turns] = arguments.as_slice() {
        let number = |text: &str| text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        decide(what, number(keys), number(turns));
        return;
    }
    for keys in [1, 1000, 100_000, 1_000_000] {
        let (floor, decision, policy) = (one_line(keys), token_bucket(keys, &["limit"], TURNS), policy(keys));
        println!("{keys:>9} keys: decision {decision:>4} ns, policy {policy:>4} ns; one line {floor:>4} ns");
    }
    for keys in [1, 1000, 100_000, 1_000_000] {
        let (fast, exact) = (shared(keys, LimitMode::Fast, TURNS), shared(keys.min(1000), LimitMode::Exact, TURNS));
        println!(
            "{keys:>9} keys: shared: fast {:>4} ns, flush {:>4} ns; exact (at most 1000 keys) {:>4} ns, flush {:>4} ns",
            fast.0, fast.1, exact.0, exact.1
        );
    }
    for keys in [1, 500_000] {
        println!("{keys:>9} keys of two limits each: decision {:>4} ns", token_bucket(keys, &["one", "two"], TURNS));
    }
    flood();
}

/// Decides and prints nothing.
fn decide(what: &str, keys: u64, turns: u64) {
    match what {
        "local" => _ = token_bucket(keys, &["limit"], turns),
        "fast" => _ = shared(keys, LimitMode::Fast, turns),
        "exact" => _ = shared(keys, LimitMode::Exact, turns),
        _ => panic!("what: local, fast or exact"),
    }
}

/// Accesses a table with as many slots as a full store.
fn one_line(keys: u64) -> u128 {
    let mut table = vec![[1_u64; 6]; keys as usize];
    let lock = std::sync::Mutex::new(());
    let mut random = Random(1);
    timed(TURNS, || {
        let _held = lock.lock();
        let slot = &mut table[random.below(keys) as usize];
        slot[1] ^= slot[0];
        random.0 ^= slot[1];
    })
}

/// Measures the whole policy, with one limit by client address that is reported in header fields.
fn policy(keys: u64) -> u128 {
    let shared = Arc::new(PolicyShared::new(MAX_KEYS));
    let limit = serde_json::json!({
        "name": "default", "limit": LIMIT, "per": 60.0, "algorithm": "token_bucket", "key": ["ip"], "burst": null,
        "cost": 1, "settle": null, "per_route": true, "scope": null, "mode": "fast", "headers": true,
    });
    let config = serde_json::from_value(serde_json::json!({"limits": [limit], "concurrency": null}));
    let auth = Authenticators::default();
    let parts = Parts { route: "r", service: "", params: &[], shared: &shared, auth: &auth };
    let built = config.map(|config| RateLimit::build(config, &parts));
    let Ok(Ok(policy)) = built else { panic!("not a configuration") };
    let mut exchange = Exchange::new(0);
    let (mut random, mut now, mut key) = (Random(1), 999 * SECOND, 0);
    let mut ask = |key: u64, step: u64| {
        now += step;
        exchange.response.edits.clear();
        exchange.request.origin.client = Ipv4Addr::from(key as u32).into();
        exchange.times.now = Instant::from_nanos(now);
        assert!(matches!(policy.on_request(&mut exchange), pylae_core::Verdict::Continue));
    };
    timed(keys, || {
        // Time stands still. Otherwise the first keys would be full again and swept before the last ones are added.
        ask(key, 0);
        key += 1;
    });
    let cost = timed(TURNS, || ask(random.below(keys), 1000));
    assert!(shared.counters.keys() as u64 * 10 >= keys * 9, "{} keys of {keys} are held", shared.counters.keys());
    cost
}

fn token_bucket(keys: u64, names: &[&str], turns: u64) -> u128 {
    let store = MemoryCounterStore::new(MAX_KEYS);
    let limits: Vec<Limit> =
        names.iter().map(|name| register(&store, name, LimitAlgorithm::TokenBucket, LIMIT, 60)).collect();
    for key in 0..keys {
        charge(&store, &limits, &key.to_le_bytes(), 2, at(999 * SECOND));
    }
    let (mut random, mut now) = (Random(1), 1000 * SECOND);
    let mut admitted = 0;
    let cost = timed(turns, || {
        now += 1000;
        admitted += u64::from(black_box(charge(&store, &limits, &random.below(keys).to_le_bytes(), 1, at(now))));
    });
    // Refusals and evicted keys would have another cost.
    assert_eq!(admitted, turns);
    assert!(store.keys() as u64 * 10 >= keys * names.len() as u64 * 9, "{} keys of {keys} are held", store.keys());
    cost
}

/// Measures a decision of a shared limit, and the flushes for each decision. The store on the other side costs nothing.
fn shared(keys: u64, mode: LimitMode, turns: u64) -> (u128, u128) {
    /// Requests between two flushes.
    const STEP: u64 = 20_000;
    let store = SharedCounterStore::new(MAX_KEYS, Duration::from_millis(20), OnStoreError::Deny, |_| {});
    store.set_nodes(3);
    let shape = LimitShape::new(LimitAlgorithm::TokenBucket, LIMIT, Duration::from_secs(60), None);
    let limit = shape.and_then(|shape| store.register("limit", shape, mode));
    let limit = limit.unwrap_or_else(|error| panic!("{error}"));
    let mut now = 1000 * SECOND;
    // Returns what the decisions and the flush have cost, and how many have waited.
    let mut step = |count: u64, next: &mut dyn FnMut() -> u64| {
        let (start, mut waited) = (cpu(), 0);
        for _ in 0..count {
            let key = next().to_le_bytes();
            let outcome = store.check_all(&mut [Charge::new(&limit, &key, 1)], at(now));
            waited += u64::from(matches!(outcome, ChargeOutcome::Pending(_)));
            now += 1000;
        }
        let decided = cpu();
        let calls = store.collect(Due::All, at(now), usize::MAX);
        let collected = cpu();
        let answers: Vec<LedgerAnswer> = calls.iter().map(|call| answer(&call.call)).collect();
        let answered = cpu();
        for (call, answer) in calls.into_iter().zip(answers) {
            store.answer(call, at(now).now, at(now), Ok(answer));
        }
        (decided - start, collected - decided + cpu() - answered, waited)
    };
    let mut key = 0;
    for _ in 0..(4 * keys).div_ceil(STEP).max(8) {
        step(STEP, &mut || {
            key += 1;
            key % keys
        });
    }
    let mut random = Random(1);
    let steps = (0..turns / STEP).map(|_| step(STEP, &mut || random.below(keys)));
    let sum = steps.fold((0, 0, 0), |sum, step| (sum.0 + step.0, sum.1 + step.1, sum.2 + step.2));
    assert!(sum.2 * 100 < turns, "{} have waited", sum.2);
    (sum.0 / u128::from(turns), sum.1 / u128::from(turns))
}

fn answer(call: &LedgerCall) -> LedgerAnswer {
    let granted = call.takes.iter().map(|take| take.count).sum();
    let valid_for = SECOND;
    LedgerAnswer { granted, leased: call.lease, generation: 1, valid_for, left: LIMIT, ..LedgerAnswer::default() }
}

/// Floods the store with five million keys while one client uses its limit.
fn flood() {
    const KEYS: u64 = 5_000_000;
    let calm = {
        let store = MemoryCounterStore::new(MAX_KEYS);
        let limit = [register(&store, "limit", LimitAlgorithm::TokenBucket, LIMIT, 60)];
        (0..MAX_KEYS as u64).for_each(|key| assert!(charge(&store, &limit, &key.to_le_bytes(), 2, at(SECOND))));
        let mut random = Random(1);
        timed(TURNS, || {
            black_box(charge(&store, &limit, &random.below(MAX_KEYS as u64).to_le_bytes(), 1, at(SECOND)));
        })
    };
    let store = MemoryCounterStore::new(MAX_KEYS);
    let limit = [register(&store, "limit", LimitAlgorithm::FixedWindow, 50, 86_400)];
    let (mut key, mut got) = (0_u64, 0);
    let cost = timed(KEYS, || {
        key += 1;
        let now = at(SECOND + key * 10);
        black_box(charge(&store, &limit, &key.to_le_bytes(), 1, now));
        if key % 1000 == 0 {
            got += u32::from(charge(&store, &limit, b"active", 1, now));
        }
    });
    println!("flood of {KEYS} keys: {cost} ns a key ({calm} ns for known keys of a full table)");
    assert!(
        store.keys() <= MAX_KEYS && store.bytes() <= 50 * MAX_KEYS,
        "{} keys, {} bytes",
        store.keys(),
        store.bytes()
    );
    assert_eq!(got, 50, "the active client gets its share");
    println!("flood: held: {} keys in {} bytes; the active client got {got} of 50", store.keys(), store.bytes());
}

fn register(store: &MemoryCounterStore, name: &str, algorithm: LimitAlgorithm, limit: u32, seconds: u64) -> Limit {
    let shape = LimitShape::new(algorithm, limit, Duration::from_secs(seconds), None);
    let limit = shape.and_then(|shape| store.register(name, shape));
    limit.unwrap_or_else(|error| panic!("{error}"))
}

fn charge(store: &MemoryCounterStore, limits: &[Limit], key: &[u8], cost: u32, at: Clocks) -> bool {
    match limits {
        [one] => store.check_all(&mut [Charge::new(one, key, cost)], at) == ChargeVerdict::Admitted,
        [one, two, ..] => {
            let mut charges = [Charge::new(one, key, cost), Charge::new(two, key, cost)];
            store.check_all(&mut charges, at) == ChargeVerdict::Admitted
        }
        [] => true,
    }
}

fn at(nanos: u64) -> Clocks {
    Clocks { now: Instant::from_nanos(nanos), wall: Duration::from_secs(1_700_000_000) + Duration::from_nanos(nanos) }
}

/// Returns the nanoseconds of processor time per turn.
fn timed(turns: u64, mut turn: impl FnMut()) -> u128 {
    let start = cpu();
    (0..turns).for_each(|_| turn());
    (cpu() - start) / u128::from(turns)
}

/// Returns the processor time of this thread so far, which excludes other load.
fn cpu() -> u128 {
    let schedstat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    schedstat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default()
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((u128::from(self.0) * u128::from(bound)) >> 64) as u64
    }
}
