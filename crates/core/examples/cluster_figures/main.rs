//! Says what limits cost that nodes share, and how exact they are, by simulation: `cargo run --release -p pylae-core
//! --example cluster_figures`. It prints the tables of `docs/reference/cluster-figures.md`.
//!
//! Two arguments may follow: the microseconds of processor time that the store takes for a call, and the bytes that it
//! takes for a key. Both have been measured with a real Valkey.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "all figures are far below 2^52"
)]
#![allow(dead_code, reason = "the tests of the simulation use the rest")]

mod events;
mod excess;
mod node;
mod peers;
mod setup;
mod simulation;
mod store;

use std::time::Duration;

use pylae_core::clock::Instant;
use pylae_core::limit::shared::Due;
use pylae_core::limit::{Charge, Clocks, CounterStore, LedgerAnswer, LimitMode, OnStoreError, SharedCounterStore};

use self::peers::{Peer, run_peer};
use self::setup::{Keys, MILLI, SECOND, Setup, Summary, bucket};
use self::simulation::run;

const NODES: [usize; 4] = [2, 16, 128, 1000];

/// Keys that a node knows at most.
const MAX_KEYS: u64 = 1_000_000;

/// What the store costs.
#[derive(Copy, Clone)]
struct StoreCost {
    /// Nanoseconds of processor time for a call.
    call: u64,
    /// Bytes for a key.
    key: u64,
}

/// How a limit is shared.
#[derive(Copy, Clone)]
enum Design {
    Own(LimitMode),
    Other(Peer),
}

const DESIGNS: [(&str, Design); 7] = [
    ("`fast`", Design::Own(LimitMode::Fast)),
    ("`exact`", Design::Own(LimitMode::Exact)),
    ("per request", Design::Other(Peer::PerRequest)),
    ("share per node", Design::Other(Peer::Share)),
    ("deltas, 20 ms", Design::Other(Peer::Deltas(20 * MILLI))),
    ("deltas, 100 ms", Design::Other(Peer::Deltas(100 * MILLI))),
    ("deltas, 1000 ms", Design::Other(Peer::Deltas(1000 * MILLI))),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: f64| match arguments.next().map(|argument| argument.parse()) {
        None => default,
        Some(Ok(number)) => number,
        Some(Err(error)) => panic!("not a number: {error}"),
    };
    let cost = StoreCost { call: (number(25.0) * 1000.0) as u64, key: number(180.0) as u64 };
    println!("Store: {} µs of processor time for a call, {} bytes for a key.", cost.call as f64 / 1000.0, cost.key);
    // The figures of memory want a process that has not given any back.
    let views = [LimitMode::Fast, LimitMode::Exact].map(view_bytes);
    near_the_limit(cost);
    far_from_the_limit(cost);
    much_traffic(cost);
    many_keys(cost);
    memory(cost, views);
}

/// Each node has as much as another.
fn even(nodes: usize, offered: f64) -> Vec<f64> {
    vec![offered / nodes as f64; nodes]
}

/// One node has 85 % of the traffic, one 10 %, the others 5 %.
fn skewed(nodes: usize, offered: f64) -> Vec<f64> {
    let mut rates = vec![offered * 0.05 / nodes.saturating_sub(2).max(1) as f64; nodes];
    rates[0] = offered * 0.85;
    rates[1] = offered * if nodes == 2 { 0.15 } else { 0.1 };
    rates
}

fn simulate(design: Design, setup: &Setup) -> Summary {
    match design {
        Design::Own(mode) => run(Setup { mode, ..setup.clone() }),
        Design::Other(peer) => run_peer(setup, peer),
    }
}

/// Of one key with a limit of 1,000 requests per second, of which more are offered.
fn near_the_limit(cost: StoreCost) {
    println!("\n## One key, four times the limit\n");
    println!("| nodes | design | calls/s | store | too many | usable | wait | skewed: too many | usable | wait |");
    println!("|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for nodes in NODES {
        for (name, design) in DESIGNS {
            let [even, skewed] = both_ways(design, nodes, 4000.0, cost);
            println!(
                "| {} | {name} | {} | {} | {} | {} | {} |",
                thousands(nodes as u64),
                calls(&even),
                thousands(even.excess),
                percent(even.tokens, 5000),
                percent(even.waited, even.requests),
                [thousands(skewed.excess), percent(skewed.tokens, 5000), percent(skewed.waited, skewed.requests)]
                    .join(" | "),
            );
        }
    }
}

/// Of one key with a limit of 1,000 requests per second, of which half are offered.
fn far_from_the_limit(cost: StoreCost) {
    println!("\n## One key, half of the limit\n");
    println!("| nodes | design | calls/s | store | refused | wait | skewed: refused | wait |");
    println!("|---:|---|---:|---:|---:|---:|---:|---:|");
    for nodes in NODES {
        for (name, design) in DESIGNS {
            let [even, skewed] = both_ways(design, nodes, 500.0, cost);
            println!(
                "| {} | {name} | {} | {} | {} | {} | {} |",
                thousands(nodes as u64),
                calls(&even),
                percent(even.refused, even.requests),
                percent(even.waited, even.requests),
                percent(skewed.refused, skewed.requests),
                percent(skewed.waited, skewed.requests),
            );
        }
    }
}

/// Simulates one key, with even and with skewed traffic; five seconds are measured.
fn both_ways(design: Design, nodes: usize, offered: f64, cost: StoreCost) -> [Summary; 2] {
    [even(nodes, offered), skewed(nodes, offered)].map(|rates| {
        let mut setup = Setup::new(bucket(1000, Duration::from_secs(1), 1000), LimitMode::Fast, rates);
        (setup.service, setup.warm_up, setup.duration) = (cost.call, 2 * SECOND, 7 * SECOND);
        simulate(design, &setup)
    })
}

fn calls(summary: &Summary) -> String {
    format!("{} | {}", thousands(summary.calls / 5), percent(summary.busy, 5 * SECOND))
}

/// Of one key, with so much traffic that a node admits much between two flushes.
fn much_traffic(cost: StoreCost) {
    println!("\n## One key, 50,000 requests per second a node\n");
    println!(
        "| nodes | limit per second | design | calls/s | store | too many | usable | wait | far: calls/s | wait |"
    );
    println!("|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|");
    for nodes in [2, 16, 128] {
        for (name, design) in &DESIGNS[..6] {
            let [near, far] = [25_000, 100_000].map(|part| {
                let limit = part * nodes as u32;
                let shape = bucket(limit, Duration::from_secs(1), limit / 10);
                let mut setup = Setup::new(shape, LimitMode::Fast, vec![5e4; nodes]);
                (setup.service, setup.warm_up, setup.duration) = (cost.call, 300 * MILLI, 600 * MILLI);
                simulate(*design, &setup)
            });
            let limit = 25_000 * nodes as u64;
            println!(
                "| {} | {} | {name} | {} | {} | {} | {} | {} | {} | {} |",
                nodes,
                thousands(limit),
                thousands(near.calls * 10 / 3),
                percent(near.busy, 300 * MILLI),
                thousands(near.excess),
                percent(near.tokens, limit * 3 / 10),
                percent(near.waited, near.requests),
                thousands(far.calls * 10 / 3),
                percent(far.waited, far.requests),
            );
        }
    }
}

/// Of keys some of which are used much more often than others.
fn many_keys(cost: StoreCost) {
    println!("\n## Many keys, 1,000 requests per second a node\n");
    println!(
        "| nodes | keys | mode | calls/s | store, cores | servers | busiest | writes/s a node | wait | longest wait | too many |"
    );
    println!("|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for nodes in NODES {
        for keys in [1000, 100_000, 10_000_000] {
            for mode in [LimitMode::Fast, LimitMode::Exact] {
                let mut setup =
                    Setup::new(bucket(1000, Duration::from_secs(1), 1000), mode, even(nodes, nodes as f64 * 1000.0));
                let seconds = if nodes < 1000 { 1.0 } else { 0.4 };
                (setup.warm_up, setup.duration) = (SECOND / 2, SECOND / 2 + (seconds * SECOND as f64) as u64);
                (setup.keys, setup.service) = (Keys::Zipf(keys), cost.call);
                setup.servers = (nodes as u64 * 1000 * cost.call * 2).div_ceil(SECOND) as usize;
                let servers = setup.servers;
                let summary = run(setup);
                println!(
                    "| {} | {} | `{}` | {} | {:.2} | {servers} | {:.0} % | {:.0} | {} | {:.1} ms | {} |",
                    thousands(nodes as u64),
                    thousands(keys.into()),
                    if mode == LimitMode::Fast { "fast" } else { "exact" },
                    thousands((summary.calls as f64 / seconds) as u64),
                    summary.busy as f64 / SECOND as f64 / seconds,
                    summary.busiest as f64 / SECOND as f64 / seconds * 100.0,
                    summary.writes as f64 / seconds / nodes as f64,
                    percent(summary.waited, summary.requests),
                    summary.longest_wait as f64 / MILLI as f64,
                    thousands(summary.excess),
                );
            }
        }
    }
}

/// Of keys in the store and in a node.
fn memory(cost: StoreCost, [fast, exact]: [f64; 2]) {
    println!("\n## Memory\n");
    println!("| keys | store | a node, `fast` | a node, `exact` |");
    println!("|---:|---:|---:|---:|");
    for keys in [1000, 100_000, 1_000_000, 10_000_000] {
        let views = keys.min(MAX_KEYS) as f64;
        println!(
            "| {} | {} | {} | {} |",
            thousands(keys),
            megabytes((keys * cost.key) as f64),
            megabytes(views * fast),
            megabytes(views * exact)
        );
    }
}

/// Returns the memory of the process that a view takes.
fn view_bytes(mode: LimitMode) -> f64 {
    const KEYS: u64 = MAX_KEYS / 2;
    let before = resident();
    let store = SharedCounterStore::new(MAX_KEYS as usize, Duration::from_millis(20), OnStoreError::Deny, |_| {});
    let limit = store.register("limit", bucket(1000, Duration::from_secs(1), 1000), mode);
    let limit = limit.unwrap_or_else(|error| panic!("{error}"));
    let at = Clocks { now: Instant::from_nanos(SECOND), wall: Duration::from_secs(1_700_000_000) };
    for key in 0..KEYS {
        drop(store.check_all(&mut [Charge::new(&limit, &key.to_le_bytes(), 1)], at));
        if key % 1000 == 999 {
            for call in store.collect(Due::All, at, usize::MAX) {
                store.answer(call, at.now, at, Ok(LedgerAnswer { left: 999, ..LedgerAnswer::default() }));
            }
        }
    }
    assert_eq!(store.keys() as u64, KEYS);
    resident().saturating_sub(before) as f64 / KEYS as f64
}

/// Returns the resident memory of this process, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4096
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.1} %", part as f64 / whole.max(1) as f64 * 100.0)
}

fn megabytes(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
