//! The counters of one route and its service. Each worker writes its own block, and readers merge the blocks.

pub(crate) mod exemplar;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use pylae_core::exchange::timing::PolicyTimings;
use pylae_core::expression::ExpressionPlace;
use pylae_core::limit::Limiter;
use pylae_core::{Exchange, maintenance};
use pylae_http::Method;

use self::exemplar::{BucketExemplars, Exemplar, Exemplars};
use super::costs::{PolicyBlock, PolicyFigures};
use super::counter::Counter;
use super::histogram::{Durations, Histogram};

/// Methods with a label of their own. All others are counted together.
pub(crate) const METHODS: [Method; 10] = [
    Method::Get,
    Method::Head,
    Method::Post,
    Method::Put,
    Method::Delete,
    Method::Patch,
    Method::Options,
    Method::Trace,
    Method::Connect,
    Method::Other,
];
/// Status classes with a label of their own. 499 counts clients that disconnected before the response.
pub(crate) const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "499"];
const FAILED: usize = 4;
const GONE: usize = 5;
/// Outcomes of the cache, in the order of `pylae_core::cache::Outcome`.
pub(crate) const CACHE: [&str; 5] = ["hit", "stale", "revalidated", "miss", "bypass"];
/// Most halt codes counted per route. Fewer exist; others would be counted as `other`.
pub(crate) const CODES: usize = 64;

/// The exemplars of a route and its service, by position in [`METHODS`].
pub(crate) type SeriesExemplars = [Option<Box<BucketExemplars>>; METHODS.len()];

/// The counters of one route and its service. A worker's block is created at its first exchange, so that unused routes
/// take almost no memory.
#[derive(Debug)]
pub(crate) struct Series(pub(super) Box<[OnceLock<Box<Block>>]>);

impl Series {
    /// The block of the worker at `index`.
    #[inline]
    pub(crate) fn of(&self, index: usize) -> &Block {
        self.0[index].get_or_init(Box::default)
    }

    pub(super) fn figures(&self) -> Figures {
        let mut figures = Figures::default();
        self.0.iter().filter_map(OnceLock::get).for_each(|block| figures.add(block));
        figures
    }

    /// The latest exemplars of all workers. None if there are none.
    pub(super) fn exemplars(&self) -> Option<SeriesExemplars> {
        let mut found = SeriesExemplars::default();
        for block in self.0.iter().filter_map(OnceLock::get) {
            for (latest, tally) in found.iter_mut().zip(&block.methods) {
                if let Some(exemplars) = tally.get().and_then(|tally| tally.exemplars.get()) {
                    exemplars.add_to(latest.get_or_insert_default());
                }
            }
        }
        found.iter().any(Option::is_some).then_some(found)
    }
}

/// One worker's counters for one method.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Tally {
    by_class: [Counter; CLASSES.len()],
    bytes_in: Counter,
    bytes_out: Counter,
    /// Those of the 5xx that were asked for, by a switch to maintenance.
    intended: Counter,
    duration: Histogram,
    /// Allocated at the first exchange whose trace is sent.
    exemplars: OnceLock<Box<Exemplars>>,
}

/// Halts by code.
#[derive(Debug)]
struct Codes {
    known: [(OnceLock<&'static str>, Counter); CODES],
    other: Counter,
}

/// One worker's counters for one route. Parts are allocated when first used.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Block {
    methods: [OnceLock<Box<Tally>>; METHODS.len()],
    upstream: OnceLock<Box<Histogram>>,
    codes: OnceLock<Box<Codes>>,
    /// What its policies cost.
    policies: OnceLock<Box<PolicyBlock>>,
    incomplete: Counter,
    retries: Counter,
    cache: [Counter; CACHE.len()],
    /// Decisions of each limiter: refused and admitted.
    limited: [[Counter; 2]; Limiter::ALL.len()],
    /// Expressions that could not be evaluated, by place.
    failed: [Counter; ExpressionPlace::ALL.len()],
    /// New and reused connections to instances.
    pub(crate) connected: Counter,
    pub(crate) reused: Counter,
    /// Reused connections that ended before the first byte of a response: the request was sent again, or failed.
    pub(crate) replaced: Counter,
    pub(crate) lost: Counter,
}

/// What is counted about an exchange that is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// The duration.
    pub(crate) nanos: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) complete: bool,
    /// True if the duration counts as response time. False for tunnels and event streams.
    pub(crate) timed: bool,
    /// True if its trace is sent: it may stand for others in a histogram.
    pub(crate) traced: bool,
}

impl Block {
    /// Adds what the policies of a timed exchange cost: those of the early stage, or the others.
    pub(crate) fn add_costs(&self, timings: &PolicyTimings, early: bool) {
        self.policies.get_or_init(Box::default).add(timings, early);
    }

    /// Counts a request that the policy at this position of the table has ended with an error.
    pub(crate) fn count_refusal(&self, position: usize, status: u16) {
        self.policies.get_or_init(Box::default).count_refusal(position, status);
    }

    /// Counts `exchange`.
    pub(crate) fn record(&self, exchange: &Exchange, ended: &Ended) {
        let class = match exchange.response.status {
            499 => GONE,
            status => usize::from((status / 100).clamp(1, 5)) - 1,
        };
        // A head that could not be parsed has no method.
        let method =
            if exchange.request.head.method_span.len == 0 { Method::Other } else { exchange.request.head.method };
        let tally = self.methods[method as usize].get_or_init(Box::default);
        tally.by_class[class].add(1);
        tally.bytes_in.add(ended.bytes_in);
        tally.bytes_out.add(ended.bytes_out);
        if ended.timed {
            tally.duration.record(ended.nanos);
            if ended.traced {
                tally.exemplars.get_or_init(Box::default).record(&Exemplar::of(exchange, ended.nanos));
            }
        }
        if exchange.attempts > 0 {
            let upstream =
                exchange.times.upstream.as_secs() * 1_000_000_000 + u64::from(exchange.times.upstream.subsec_nanos());
            self.upstream.get_or_init(Box::default).record(upstream);
            self.retries.add(u64::from(exchange.attempts - 1));
        }
        if let Some(outcome) = exchange.cache_outcome() {
            self.cache[outcome as usize].add(1);
        }
        if let Some(limits) = exchange.admitted() {
            for (counters, admitted) in self.limited.iter().zip(limits.by) {
                if let Some(admitted) = admitted {
                    counters[usize::from(admitted)].add(1);
                }
            }
        }
        for (place, _) in exchange.failures() {
            self.failed[place as usize].add(1);
        }
        if !ended.complete && class != GONE {
            self.incomplete.add(1);
        }
        if let Some(code) = exchange.response.code {
            tally.intended.add(u64::from(code == maintenance::CODE));
            self.codes.get_or_init(Box::default).add(code);
        }
    }
}

impl Default for Codes {
    fn default() -> Self {
        Self { known: [const { (OnceLock::new(), Counter::new()) }; CODES], other: Counter::new() }
    }
}

impl Codes {
    fn add(&self, code: &'static str) {
        let found = self.known.iter().find(|(known, _)| *known.get_or_init(|| code) == code);
        found.map_or(&self.other, |(_, counter)| counter).add(1);
    }
}

/// The merged counters of one method.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TallyFigures {
    pub(crate) by_class: [u64; CLASSES.len()],
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// Those of the 5xx that were asked for, by a switch to maintenance.
    pub(crate) intended: u64,
    pub(crate) duration: Durations,
}

/// The merged counters of one or several routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// By position in [`METHODS`]. None for methods that were never used.
    pub(crate) methods: [Option<TallyFigures>; METHODS.len()],
    pub(crate) upstream: Option<Durations>,
    pub(crate) codes: BTreeMap<&'static str, u64>,
    /// What its policies cost, by position in their table.
    pub(crate) policies: BTreeMap<usize, PolicyFigures>,
    pub(crate) incomplete: u64,
    pub(crate) retries: u64,
    pub(crate) cache: [u64; CACHE.len()],
    /// Decisions of each limiter: refused and admitted.
    pub(crate) limited: [[u64; 2]; Limiter::ALL.len()],
    /// Expressions that could not be evaluated, by place.
    pub(crate) failed: [u64; ExpressionPlace::ALL.len()],
    pub(crate) connected: u64,
    pub(crate) reused: u64,
    pub(crate) replaced: u64,
    pub(crate) lost: u64,
}

impl TallyFigures {
    /// Number of exchanges.
    pub(crate) fn requests(&self) -> u64 {
        self.by_class.iter().sum()
    }

    /// Number of exchanges answered with 5xx.
    pub(crate) fn errors(&self) -> u64 {
        self.by_class[FAILED]
    }

    /// Number of exchanges answered with 5xx that nobody has asked for.
    pub(crate) fn failures(&self) -> u64 {
        self.errors().saturating_sub(self.intended)
    }

    /// Number of clients that disconnected before the response.
    pub(crate) fn abandoned(&self) -> u64 {
        self.by_class[GONE]
    }

    fn add(&mut self, one: &Tally) {
        for (total, counter) in self.by_class.iter_mut().zip(&one.by_class) {
            *total += counter.get();
        }
        self.bytes_in += one.bytes_in.get();
        self.bytes_out += one.bytes_out.get();
        self.intended += one.intended.get();
        self.duration.add(&one.duration);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        add_all(&mut self.by_class, &other.by_class);
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.intended += other.intended;
        self.duration.merge(&other.duration);
    }
}

impl Figures {
    /// Adds the counters of one worker.
    pub(crate) fn add(&mut self, one: &Block) {
        for (total, tally) in self.methods.iter_mut().zip(&one.methods) {
            if let Some(tally) = tally.get() {
                total.get_or_insert_default().add(tally);
            }
        }
        if let Some(upstream) = one.upstream.get() {
            self.upstream.get_or_insert_default().add(upstream);
        }
        if let Some(codes) = one.codes.get() {
            let known = codes.known.iter().filter_map(|(code, counter)| Some((*code.get()?, counter)));
            for (code, counter) in known.chain([("other", &codes.other)]).filter(|(_, counter)| counter.get() > 0) {
                *self.codes.entry(code).or_default() += counter.get();
            }
        }
        if let Some(policies) = one.policies.get() {
            policies.read(&mut self.policies);
        }
        for (total, counter) in self.cache.iter_mut().zip(&one.cache) {
            *total += counter.get();
        }
        for (totals, counters) in self.limited.iter_mut().zip(&one.limited) {
            for (total, counter) in totals.iter_mut().zip(counters) {
                *total += counter.get();
            }
        }
        for (total, counter) in self.failed.iter_mut().zip(&one.failed) {
            *total += counter.get();
        }
        self.incomplete += one.incomplete.get();
        self.retries += one.retries.get();
        self.connected += one.connected.get();
        self.reused += one.reused.get();
        self.replaced += one.replaced.get();
        self.lost += one.lost.get();
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (total, tally) in self.methods.iter_mut().zip(&other.methods) {
            if let Some(tally) = tally {
                total.get_or_insert_default().merge(tally);
            }
        }
        if let Some(upstream) = &other.upstream {
            self.upstream.get_or_insert_default().merge(upstream);
        }
        for (code, count) in &other.codes {
            *self.codes.entry(code).or_default() += count;
        }
        for (position, one) in &other.policies {
            self.policies.entry(*position).or_default().merge(one);
        }
        add_all(&mut self.cache, &other.cache);
        for (totals, others) in self.limited.iter_mut().zip(&other.limited) {
            add_all(totals, others);
        }
        add_all(&mut self.failed, &other.failed);
        self.incomplete += other.incomplete;
        self.retries += other.retries;
        self.connected += other.connected;
        self.reused += other.reused;
        self.replaced += other.replaced;
        self.lost += other.lost;
    }

    /// The figures of the methods that were used.
    pub(crate) fn by_method(&self) -> impl Iterator<Item = (Method, &TallyFigures)> {
        METHODS.into_iter().zip(&self.methods).filter_map(|(method, tally)| Some((method, tally.as_ref()?)))
    }
}

fn add_all<const N: usize>(totals: &mut [u64; N], others: &[u64; N]) {
    for (total, other) in totals.iter_mut().zip(others) {
        *total += other;
    }
}

/// The label of a method.
pub(crate) fn method_name(method: Method) -> &'static str {
    match method {
        Method::Other => "OTHER",
        known => known.as_str(),
    }
}

#[cfg(test)]
mod tests;
