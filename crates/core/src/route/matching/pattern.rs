//! Regular expressions in linear time: all patterns in one pass, then the groups of the chosen one.

use regex_automata::dfa::onepass;
use regex_automata::hybrid::dfa;
use regex_automata::nfa::thompson::backtrack::{self, BoundedBacktracker};
use regex_automata::nfa::thompson::pikevm::{self, PikeVM};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::util::start;
use regex_automata::{Anchored, Input, MatchKind, PatternID};
use regex_syntax::ParserBuilder;
use regex_syntax::ast::ErrorKind;
use regex_syntax::hir::literal::Extractor;
use regex_syntax::hir::{Hir, HirKind};

use pylae_http::Span;

/// Longest pattern, in bytes.
const MAX_PATTERN: usize = 4096;
/// Largest depth of groups in a pattern.
const MAX_NEST: u32 = 50;
/// Largest automaton of one pattern, in bytes.
const MAX_AUTOMATON: usize = 512 * 1024;
/// Largest total size of the automata of a router's patterns, in bytes.
pub(crate) const MAX_AUTOMATA: usize = 64 * 1024 * 1024;
/// Largest one-pass automaton, in bytes; for larger ones groups are found by backtracking.
const MAX_ONE_PASS: usize = 64 * 1024;

/// Parses `pattern`: ASCII classes, bytes, every construct that needs no look-around.
pub(crate) fn parse(pattern: &str) -> Result<Hir, String> {
    if pattern.len() > MAX_PATTERN {
        return Err(format!("the pattern has {} bytes, {MAX_PATTERN} are allowed; split it", pattern.len()));
    }
    ParserBuilder::new().unicode(false).utf8(false).nest_limit(MAX_NEST).build().parse(pattern).map_err(|e| explain(&e))
}

fn explain(error: &regex_syntax::Error) -> String {
    match error {
        regex_syntax::Error::Parse(e) => {
            let hint = match e.kind() {
                ErrorKind::UnsupportedLookAround => {
                    "look-around is not supported because matching must take linear time; use a second route, \
                     priorities, or a header or query match"
                }
                ErrorKind::UnsupportedBackreference => {
                    "backreferences are not supported because matching must take linear time"
                }
                ErrorKind::NestLimitExceeded(_) => "groups are nested too deeply; simplify the pattern",
                kind => return format!("not a regular expression: {kind} at character {}", e.span().start.offset + 1),
            };
            format!("{hint} (at character {})", e.span().start.offset + 1)
        }
        regex_syntax::Error::Translate(e) => format!(
            "not a regular expression: {} at character {} (classes are ASCII here)",
            e.kind(),
            e.span().start.offset + 1
        ),
        _ => format!("not a regular expression: {error}"),
    }
}

/// Returns true if certainly no text that starts with `/` matches.
pub(crate) fn never_matches_a_path(hir: &Hir) -> bool {
    let found = Extractor::new().extract(hir);
    found.literals().is_some_and(|all| all.iter().all(|l| l.as_bytes().first().is_some_and(|b| *b != b'/')))
}

/// Returns the common start of all matching texts, as far as it is easy to find.
pub(crate) fn start(hir: &Hir) -> Vec<u8> {
    Extractor::new().extract(hir).longest_common_prefix().unwrap_or_default().to_vec()
}

/// Returns true if certainly every matching text contains `byte`.
pub(crate) fn needs(hir: &Hir, byte: u8) -> bool {
    match hir.kind() {
        HirKind::Literal(literal) => literal.0.contains(&byte),
        HirKind::Capture(group) => needs(&group.sub, byte),
        HirKind::Repetition(repeated) => repeated.min > 0 && needs(&repeated.sub, byte),
        HirKind::Concat(parts) => parts.iter().any(|part| needs(part, byte)),
        HirKind::Alternation(ways) => ways.iter().all(|way| needs(way, byte)),
        HirKind::Empty | HirKind::Class(_) | HirKind::Look(_) => false,
    }
}

fn compiler(limit: usize, captures: WhichCaptures) -> thompson::Compiler {
    let mut compiler = NFA::compiler();
    let config = NFA::config().utf8(false).nfa_size_limit(Some(limit)).which_captures(captures);
    compiler.configure(config);
    compiler
}

/// Compiles the automaton of one pattern, including its groups.
pub(crate) fn compile(hir: &Hir) -> Result<NFA, String> {
    compiler(MAX_AUTOMATON, WhichCaptures::All).build_from_hir(hir).map_err(|e| {
        if e.size_limit().is_some() {
            format!(
                "the automaton of this pattern is larger than {} KB; use smaller repetition counts",
                MAX_AUTOMATON / 1024
            )
        } else {
            format!("the pattern cannot be compiled: {e}")
        }
    })
}

/// Returns the names of the groups; those without a name are `1`, `2`, ….
pub(crate) fn group_names(nfa: &NFA) -> Vec<Box<str>> {
    let names = nfa.group_info().pattern_names(PatternID::ZERO);
    names.enumerate().skip(1).map(|(i, name)| name.map_or_else(|| i.to_string().into(), Into::into)).collect()
}

/// The engine could not decide; callers must not treat this as "no match".
#[derive(Debug)]
pub(crate) struct ScanFailed;

/// A set of patterns that are matched in one pass over the text, whatever their number. States are determinised when
/// first reached, in a bounded cache that belongs to the caller.
pub(crate) struct PatternSet {
    dfa: dfa::DFA,
}

impl PatternSet {
    /// Compiles `patterns`, with `cache` bytes for determinised states in every worker.
    pub(crate) fn build(patterns: &[Hir], cache: usize) -> Result<Self, String> {
        let nfa =
            compiler(MAX_AUTOMATA, WhichCaptures::None).build_many_from_hir(patterns).map_err(|e| e.to_string())?;
        let config = dfa::Config::new()
            .match_kind(MatchKind::All)
            .cache_capacity(cache)
            // A single state of very many patterns may need more than `cache`; then the smallest possible cache is
            // used.
            .skip_cache_capacity_check(true);
        let dfa = dfa::Builder::new().configure(config).build_from_nfa(nfa).map_err(|e| e.to_string())?;
        Ok(Self { dfa })
    }

    /// Creates the cache for [`PatternSet::scan`].
    pub(crate) fn cache(&self) -> dfa::Cache {
        self.dfa.create_cache()
    }

    /// Calls `hit` with each pattern that matches from the start of `text` to some position, possibly several times.
    /// Stops when `hit` returns true.
    pub(crate) fn scan(
        &self,
        cache: &mut dfa::Cache,
        text: &[u8],
        mut hit: impl FnMut(usize) -> bool,
    ) -> Result<(), ScanFailed> {
        let dfa = &self.dfa;
        let start = start::Config::new().anchored(Anchored::Yes);
        let mut at = dfa.start_state(cache, &start).map_err(|_| ScanFailed)?;
        for &byte in text {
            at = dfa.next_state(cache, at, byte).map_err(|_| ScanFailed)?;
            if at.is_tagged() {
                if at.is_match() {
                    for i in 0..dfa.match_len(cache, at) {
                        if hit(dfa.match_pattern(cache, at, i).as_usize()) {
                            return Ok(());
                        }
                    }
                } else if at.is_dead() {
                    return Ok(());
                } else if at.is_quit() {
                    return Err(ScanFailed);
                }
            }
        }
        at = dfa.next_eoi_state(cache, at).map_err(|_| ScanFailed)?;
        if at.is_match() {
            for i in 0..dfa.match_len(cache, at) {
                if hit(dfa.match_pattern(cache, at, i).as_usize()) {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Finds the groups of one pattern in a text that matches it.
pub(crate) enum Groups {
    /// One pass over the text, for most patterns.
    OnePass(Box<onepass::DFA>),
    /// For patterns in which a byte may belong to either of two groups.
    Search(Box<(BoundedBacktracker, PikeVM)>),
}

/// Caches for [`Groups::find`], shared by all patterns.
#[derive(Default)]
pub(crate) struct GroupCaches {
    one_pass: Option<onepass::Cache>,
    backtrack: Option<backtrack::Cache>,
    pike: Option<pikevm::Cache>,
    slots: Vec<Option<NonMaxUsize>>,
}

impl Groups {
    /// Creates the matcher for the pattern of `nfa`.
    pub(crate) fn build(nfa: &NFA) -> Result<Self, String> {
        let config = onepass::Config::new().size_limit(Some(MAX_ONE_PASS));
        if let Ok(dfa) = onepass::Builder::new().configure(config).build_from_nfa(nfa.clone()) {
            return Ok(Self::OnePass(Box::new(dfa)));
        }
        let backtrack = BoundedBacktracker::builder().build_from_nfa(nfa.clone()).map_err(|e| e.to_string())?;
        let pike = PikeVM::builder().build_from_nfa(nfa.clone()).map_err(|e| e.to_string())?;
        Ok(Self::Search(Box::new((backtrack, pike))))
    }

    /// Adds one span per group to `out`; a group that did not participate is empty.
    pub(crate) fn find(&self, caches: &mut GroupCaches, text: &[u8], count: usize, out: &mut Vec<Span>) {
        let GroupCaches { one_pass, backtrack, pike, slots } = caches;
        slots.clear();
        slots.resize(2 * (count + 1), None);
        let input = Input::new(text).anchored(Anchored::Yes);
        match self {
            Self::OnePass(dfa) => {
                let cache = one_pass.get_or_insert_with(|| dfa.create_cache());
                cache.reset(dfa);
                // Fails only for an unanchored search, which this is not.
                let _ = dfa.try_search_slots(cache, &input, slots);
            }
            Self::Search(engines) => {
                let (engine, fallback) = &**engines;
                let cache = backtrack.get_or_insert_with(|| engine.create_cache());
                cache.reset(engine);
                if engine.try_search_slots(cache, &input, slots).is_err() {
                    let cache = pike.get_or_insert_with(|| fallback.create_cache());
                    cache.reset(fallback);
                    fallback.search_slots(cache, &input, slots);
                }
            }
        }
        out.extend(slots[2..].chunks_exact(2).map(|pair| match pair {
            [Some(start), Some(end)] => Span::new(start.get(), end.get()),
            _ => Span::default(),
        }));
    }
}
