//! Compiles the regular expressions of `matches`: linear in time, bounded in size.

use regex_automata::meta::{Config, Regex};
use regex_automata::nfa::thompson::NFA;
use regex_syntax::ParserBuilder;

use crate::expression::tree::TextPattern;

/// Longest pattern, in bytes.
const MAX_PATTERN: usize = 1024;
/// Largest depth of groups in a pattern.
const MAX_NEST: u32 = 50;
/// Largest automaton, in bytes.
const MAX_AUTOMATON: usize = 64 * 1024;
/// Largest memory for determinised states, in bytes, per thread at most.
const STATE_MEMORY: usize = 256 * 1024;
/// States of the automaton that cost a step for each byte of the text.
const STATES_PER_STEP: usize = 64;

/// Compiles a pattern that may match anywhere in a text.
pub(super) fn compile(pattern: &str) -> Result<TextPattern, String> {
    if pattern.len() > MAX_PATTERN {
        return Err(format!("the pattern has {} bytes, {MAX_PATTERN} are allowed", pattern.len()));
    }
    let hir = ParserBuilder::new().nest_limit(MAX_NEST).build().parse(pattern).map_err(|error| {
        let what = match error {
            regex_syntax::Error::Parse(error) => error.kind().to_string(),
            regex_syntax::Error::Translate(error) => error.kind().to_string(),
            other => other.to_string(),
        };
        format!("this is not a regular expression: {what}")
    })?;
    let thompson = NFA::config().nfa_size_limit(Some(MAX_AUTOMATON));
    let nfa = NFA::compiler().configure(thompson).build_from_hir(&hir).map_err(|_| "the pattern is too large")?;
    let config = Config::new().nfa_size_limit(Some(MAX_AUTOMATON)).hybrid_cache_capacity(STATE_MEMORY);
    let built = Regex::builder().configure(config).build_from_hir(&hir);
    let regex = built.map_err(|_| "the pattern is too large")?;
    Ok(TextPattern { regex, bytes_per_step: (STATES_PER_STEP / nfa.states().len().max(1)).max(1) })
}
