//! Explains the choice of a split, for people.

use std::sync::atomic::AtomicU64;

use serde::Serialize;

use super::{Choice, ChosenBy};
use crate::exchange::Exchange;
use crate::route::{Router, Scratch};

/// Explanation of a choice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SplitExplanation {
    /// Position of the member that would be chosen; by weight the next request may go to another.
    pub chosen: Option<usize>,
    /// `when`, `sticky` or `weight`.
    pub by: Option<&'static str>,
    /// The decision as a sentence.
    pub how: String,
    /// The members by position.
    pub members: Vec<MemberStanding>,
}

/// A member as the choice sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberStanding {
    /// Name of its service.
    pub service: Box<str>,
    /// Its weight.
    pub weight: u32,
    /// Whether the request meets its condition; None without one.
    pub met: Option<bool>,
    /// What the parts of its expression say, as sentences.
    pub parts: Vec<String>,
    /// Whether its service can take a request now.
    pub available: bool,
}

impl Router {
    /// Explains what [`Self::choose`] would do first for the request. Returns None for a route without a split.
    pub fn explain_split(
        &self,
        route: usize,
        exchange: &Exchange,
        available: impl Fn(usize) -> bool,
    ) -> Option<(Option<Choice>, SplitExplanation)> {
        let split = self.split(route)?;
        let mut scratch = Scratch::default();
        let choice = self.choose(route, exchange, &mut scratch, &AtomicU64::default(), &available);
        let mut standing = |index: usize| {
            let (member, conditions) = (&split.members[index], split.conditions[index].as_ref());
            let met = conditions.map(|conditions| self.meets(exchange, split, conditions, &mut scratch));
            let parts = conditions.map_or_else(Vec::new, |conditions| conditions.explain(exchange, &split.route));
            let (service, weight, available) = (member.service.clone(), member.weight, available(index));
            MemberStanding { service, weight, met, parts, available }
        };
        let members: Vec<_> = (0..split.members.len()).map(&mut standing).collect();
        let total: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
        let named = choice.map(|choice| &members[choice.index]);
        let (by, how) = match (choice, named) {
            (Some(Choice { by: ChosenBy::When, .. }), Some(member)) => {
                (Some("when"), format!("the request meets the `when` of {}", member.service))
            }
            (Some(Choice { by: ChosenBy::Sticky, .. }), Some(member)) => {
                (Some("sticky"), format!("the client's cookie names {}", member.service))
            }
            (Some(Choice { by: ChosenBy::Weight, .. }), Some(member)) => {
                (Some("weight"), format!("by weight, of which {} has {} of {total}", member.service, member.weight))
            }
            _ => (None, "the request meets no `when`, and no member has a weight".to_owned()),
        };
        Some((choice, SplitExplanation { chosen: choice.map(|choice| choice.index), by, how, members }))
    }
}
