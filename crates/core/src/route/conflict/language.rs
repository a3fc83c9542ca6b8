//! The paths that a route takes as an automaton, and how those of two routes lie to each other.
//!
//! Two automata are followed side by side through all canonical paths without parameters. That is exact: a path that
//! only one of them takes is found if there is one. Where it would take too long nothing is said.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{self, DFA};
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};

use crate::plan::{self, PathMatch};
use crate::route::matching::pattern;
use crate::route::matching::rule::{Path, Rule};
use crate::route::matching::template::{ParamKind, Segment};

/// Memory for the states of one automaton.
const MAX_CACHE: usize = 1024 * 1024;
/// Pairs of states that one comparison may look at.
const MAX_PAIRS: usize = 2_000;
/// What the automaton of a route costs, in pairs of states.
const BUILDING: usize = 20;
/// Automata that are kept.
const MAX_KEPT: usize = 64;
/// Common paths that are told.
const MAX_COMMON: usize = 16;
/// Bytes of a judged path; those that people can read come first in examples.
const ALPHABET: &[u8] = b"/xabcdefghijklmnopqrstuvwyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-._~!$&'()*+,=:@%";

/// What has been read of a path: the least that tells how a canonical one may go on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Spot {
    Start,
    Slash,
    /// A segment that is `.` so far, or `..`.
    Dot,
    Dots,
    Segment,
    /// Behind `%`, and behind the digit that follows.
    Percent,
    Digit,
}

impl Spot {
    fn step(self, byte: u8) -> Option<Self> {
        let upper_hex = byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
        match (self, byte) {
            (Self::Start | Self::Segment, b'/') => Some(Self::Slash),
            (Self::Percent, _) => upper_hex.then_some(Self::Digit),
            (Self::Digit, _) => upper_hex.then_some(Self::Segment),
            (Self::Start, _) | (Self::Slash | Self::Dot | Self::Dots, b'/') => None,
            (Self::Slash, b'.') => Some(Self::Dot),
            (Self::Dot, b'.') => Some(Self::Dots),
            (_, b'%') => Some(Self::Percent),
            _ => Some(Self::Segment),
        }
    }

    /// Whether a path may end here.
    fn ends(self) -> bool {
        matches!(self, Self::Slash | Self::Segment)
    }
}

/// How far an automaton has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    /// It takes nothing that begins so.
    Dead,
    At(LazyStateID),
    /// It takes whatever begins so.
    All,
}

/// The automaton needs more memory than it may have.
struct TooLarge;

/// The paths that a route takes.
struct Language {
    dfa: DFA,
    cache: dfa::Cache,
    start: State,
}

/// How the paths of `a` and of `b` lie to each other, as far as that was of interest.
#[derive(Default)]
pub(crate) struct Relation {
    /// Some that both take, the shortest first.
    pub(crate) common: Vec<Vec<u8>>,
    /// Whether some are taken by `a` alone.
    pub(crate) only_a: bool,
    /// Whether some are taken by `b` alone.
    pub(crate) only_b: bool,
}

impl Relation {
    /// Whether there is nothing more to find out.
    pub(crate) fn is_complete(&self) -> bool {
        self.only_a && self.only_b && self.common.len() == MAX_COMMON
    }
}

impl Language {
    /// The paths that `path`, which was written as `written`, takes; none if it is too large.
    fn of(path: &Path, written: &PathMatch) -> Option<Self> {
        let hir = pattern::parse(&expression(path, written)?).ok()?;
        let config = dfa::Config::new()
            .match_kind(MatchKind::All)
            .cache_capacity(MAX_CACHE)
            .skip_cache_capacity_check(true)
            // States keep their names as long as nothing is cleared.
            .minimum_cache_clear_count(Some(0));
        let nfa = pattern::compile(&hir).ok()?;
        let dfa = dfa::Builder::new().configure(config).build_from_nfa(nfa).ok()?;
        let mut cache = dfa.create_cache();
        let start = start::Config::new().anchored(Anchored::Yes);
        let start = State::At(dfa.start_state(&mut cache, &start).ok()?);
        Some(Self { dfa, cache, start })
    }

    fn step(&mut self, state: State, byte: u8) -> Result<State, TooLarge> {
        let State::At(id) = state else { return Ok(state) };
        let next = self.dfa.next_state(&mut self.cache, id, byte).map_err(|_| TooLarge)?;
        if next.is_quit() {
            return Err(TooLarge);
        }
        // What matches up to somewhere matches, whatever follows.
        Ok(if next.is_match() {
            State::All
        } else if next.is_dead() {
            State::Dead
        } else {
            State::At(next)
        })
    }

    fn matches(&mut self, state: State) -> Result<bool, TooLarge> {
        Ok(match state {
            State::Dead => false,
            State::All => true,
            State::At(id) => self.dfa.next_eoi_state(&mut self.cache, id).map_err(|_| TooLarge)?.is_match(),
        })
    }
}

/// The same paths as a regular expression, as patterns are read: from the start, up to somewhere.
fn expression(path: &Path, written: &PathMatch) -> Option<String> {
    let literal = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(regex_syntax::escape);
    Some(match (path, written) {
        (Path::Exact(path), _) => format!("{}$", literal(path)?),
        (Path::Prefix(prefix), _) if prefix.ends_with(b"/") => literal(prefix)?,
        (Path::Prefix(prefix), _) => format!("{}(?:/|$)", literal(prefix)?),
        (Path::Template(template), _) => {
            let mut text = String::new();
            for segment in &template.segments {
                let _ = match segment {
                    Segment::Literal(bytes) => write!(text, "/{}", literal(bytes)?),
                    Segment::Param { before, after, kind } => {
                        let inner = if *kind == ParamKind::Int { "[0-9]+" } else { "[^/]+" };
                        write!(text, "/{}{inner}{}", literal(before)?, literal(after)?)
                    }
                    Segment::Rest => return Some(text + "/"),
                };
            }
            text + "$"
        }
        (Path::Pattern(_), PathMatch::Pattern(text)) => text.clone(),
        _ => return None,
    })
}

/// One place in the search: how far both have come, and by which byte from where.
struct LanguageStep {
    states: (State, State),
    spot: Spot,
    from: usize,
    byte: u8,
}

/// The paths of many routes, compared two by two within one budget.
pub(crate) struct Languages<'a> {
    rules: &'a [Rule],
    /// As they were written.
    routes: &'a [plan::RoutePlan],
    /// By the place of the route; none where it is too large.
    kept: HashMap<usize, Option<Language>>,
    /// Pairs of states that may still be looked at.
    budget: usize,
}

impl<'a> Languages<'a> {
    /// Those of `rules`, which were made of `routes`.
    pub(crate) fn new(rules: &'a [Rule], routes: &'a [plan::RoutePlan], budget: usize) -> Self {
        Self { rules, routes, kept: HashMap::new(), budget }
    }

    /// How the paths of the routes `a` and `b` lie to each other, looked at until `enough` says so. None if that would
    /// take too long. Faster where `a` is one of the latest that were asked for.
    pub(crate) fn compare(&mut self, a: usize, b: usize, enough: impl Fn(&Relation) -> bool) -> Option<Relation> {
        self.budget = self.budget.checked_sub(BUILDING)?;
        let (rules, routes) = (self.rules, self.routes);
        let of = |route: usize| Language::of(&rules[route].path, &routes[route].matches.path);
        if self.kept.len() == MAX_KEPT && !self.kept.contains_key(&a) {
            self.kept.clear();
        }
        let first = self.kept.entry(a).or_insert_with(|| of(a)).as_mut()?;
        compare(first, &mut of(b)?, &mut self.budget, enough)
    }
}

/// See [`Languages::compare`]; `budget` counts pairs of states.
fn compare(
    a: &mut Language,
    b: &mut Language,
    budget: &mut usize,
    enough: impl Fn(&Relation) -> bool,
) -> Option<Relation> {
    let bytes = distinct_bytes(a, b);
    let mut relation = Relation::default();
    let mut steps = vec![LanguageStep { states: (a.start, b.start), spot: Spot::Start, from: 0, byte: 0 }];
    let mut known = HashSet::new();
    let mut at = 0;
    while at < steps.len() {
        let LanguageStep { states, spot, .. } = steps[at];
        *budget = budget.checked_sub(1)?;
        if spot.ends() {
            match (a.matches(states.0).ok()?, b.matches(states.1).ok()?) {
                (true, true) if relation.common.len() < MAX_COMMON => relation.common.push(path_to(&steps, at)),
                (true, false) => relation.only_a = true,
                (false, true) => relation.only_b = true,
                _ => {}
            }
            if enough(&relation) {
                break;
            }
        }
        for &byte in &bytes {
            let Some(spot) = spot.step(byte) else { continue };
            let states = (a.step(states.0, byte).ok()?, b.step(states.1, byte).ok()?);
            if states != (State::Dead, State::Dead) && known.insert((states, spot)) {
                if steps.len() == MAX_PAIRS {
                    return None;
                }
                steps.push(LanguageStep { states, spot, from: at, byte });
            }
        }
        at += 1;
    }
    Some(relation)
}

/// One byte of every kind that either of them, or a canonical path, tells from others.
fn distinct_bytes(a: &Language, b: &Language) -> Vec<u8> {
    let mut kinds = HashSet::new();
    let kind = |byte: &u8| {
        let for_paths = match byte {
            b'/' | b'.' | b'%' => *byte,
            b'0'..=b'9' | b'A'..=b'F' => b'0',
            _ => b'x',
        };
        (a.dfa.byte_classes().get(*byte), b.dfa.byte_classes().get(*byte), for_paths)
    };
    ALPHABET.iter().copied().filter(|byte| kinds.insert(kind(byte))).collect()
}

/// The path that leads to the step at `at`.
fn path_to(steps: &[LanguageStep], mut at: usize) -> Vec<u8> {
    let mut path = Vec::new();
    while at > 0 {
        path.push(steps[at].byte);
        at = steps[at].from;
    }
    path.reverse();
    path
}
