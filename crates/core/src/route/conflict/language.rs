//! The paths that a route matches, as an automaton, and the relation between those of two routes.
//!
//! Two automata are run in parallel over all canonical paths without parameters. This is exact: a path that only one of
//! them matches is found if there is one. If it would take too long, there is no result.

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

/// Largest cache for the states of one automaton, in bytes.
const MAX_CACHE: usize = 1024 * 1024;
/// Largest number of pairs of states in one comparison.
const MAX_PAIRS: usize = 2_000;
/// Cost of building an automaton, in pairs of states.
const BUILDING: usize = 20;
/// Largest number of cached automata.
const MAX_KEPT: usize = 64;
/// Largest number of common paths in a result.
const MAX_COMMON: usize = 16;
/// Bytes of a canonical path without parameters; readable ones come first, for the sake of examples.
const ALPHABET: &[u8] = b"/xabcdefghijklmnopqrstuvwyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-._~!$&'()*+,=:@%";

/// How a canonical path may continue after what was read.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Spot {
    Start,
    Slash,
    /// The segment is `.` or `..` so far.
    Dot,
    Dots,
    Segment,
    /// After `%`, and after the digit that follows it.
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

    /// Returns true if a path may end here.
    fn ends(self) -> bool {
        matches!(self, Self::Slash | Self::Segment)
    }
}

/// State of an automaton.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    /// No continuation matches.
    Dead,
    At(LazyStateID),
    /// Every continuation matches.
    All,
}

/// The automaton needs too much memory.
struct TooLarge;

/// The paths that a route matches.
struct Language {
    dfa: DFA,
    cache: dfa::Cache,
    start: State,
}

/// Relation between the paths of `a` and `b`, as far as it was searched.
#[derive(Default)]
pub(crate) struct Relation {
    /// Paths that both match, the shortest first.
    pub(crate) common: Vec<Vec<u8>>,
    /// True if `a` matches paths that `b` does not.
    pub(crate) only_a: bool,
    /// True if `b` matches paths that `a` does not.
    pub(crate) only_b: bool,
}

impl Relation {
    /// Returns true if further search cannot add anything.
    pub(crate) fn is_complete(&self) -> bool {
        self.only_a && self.only_b && self.common.len() == MAX_COMMON
    }
}

impl Language {
    /// Builds the automaton of `path`, written as `written` in the plan; returns None if it is too large.
    fn of(path: &Path, written: &PathMatch) -> Option<Self> {
        let hir = pattern::parse(&expression(path, written)?).ok()?;
        let config = dfa::Config::new()
            .match_kind(MatchKind::All)
            .cache_capacity(MAX_CACHE)
            .skip_cache_capacity_check(true)
            // State ids stay valid as long as nothing is cleared.
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
        // A text with a matching prefix matches, whatever follows.
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

/// Converts a path to a regular expression, which is anchored at the start only.
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

/// One step of the search: the states of both automata, and from which step and by which byte they were reached.
struct LanguageStep {
    states: (State, State),
    spot: Spot,
    from: usize,
    byte: u8,
}

/// The paths of many routes, compared in pairs within one budget.
pub(crate) struct Languages<'a> {
    rules: &'a [Rule],
    /// The routes as written in the plan.
    routes: &'a [plan::RoutePlan],
    /// By index of the route; None if the automaton is too large.
    kept: HashMap<usize, Option<Language>>,
    /// Pairs of states left in the budget.
    budget: usize,
}

impl<'a> Languages<'a> {
    /// Creates the languages of `rules`, which were built from `routes`.
    pub(crate) fn new(rules: &'a [Rule], routes: &'a [plan::RoutePlan], budget: usize) -> Self {
        Self { rules, routes, kept: HashMap::new(), budget }
    }

    /// Compares the paths of the routes `a` and `b` until `enough` returns true. Returns None if that would take too
    /// long. Faster if `a` is one of the latest that were asked for.
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

/// Returns one byte of every class that either automaton, or the syntax of canonical paths, distinguishes.
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

/// Returns the path that leads to the step at `at`.
fn path_to(steps: &[LanguageStep], mut at: usize) -> Vec<u8> {
    let mut path = Vec::new();
    while at > 0 {
        path.push(steps[at].byte);
        at = steps[at].from;
    }
    path.reverse();
    path
}
