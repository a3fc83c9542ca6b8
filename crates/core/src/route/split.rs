//! Splits the requests of a route over the members of its split, each of which is a service.
//!
//! A member whose condition the request meets gets it, the first such one, whatever its weight. Otherwise the client's
//! cookie decides, if the split is sticky, and else the weights. Only members that are available take part in a choice
//! by weight or cookie, unless none is. Whatever follows (retries, the key of the cache, headers, counters) belongs to
//! the chosen member: an exchange never changes it.

mod choose;
mod condition;
mod explain;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pylae_http::Edits;

use super::matching::predicate::ValuePatterns;
use crate::exchange::Exchange;
use crate::exchange::slots::{Feature, FeatureMemory, FeatureSlot};
use crate::plan::{FieldChanges, MemberPlan, Problem, SplitPlan, WhenPlan};
use crate::request::cookie;
use crate::service::sticky::{self, StickyCookie};

use self::condition::MemberConditions;

pub use self::explain::{MemberStanding, SplitExplanation};

/// Largest number of members of one split, so that a set of them is one word.
const MAX_MEMBERS: usize = 64;
/// Step from the point of one turn to that of the next, as a fraction of 2^64: the golden ratio. The points of any run
/// of turns lie more evenly in every range than those of any other constant step, so that each member gets its share
/// to within a few requests. Unlike a cycle, they never fall in step with clients whose requests come in a rhythm (a
/// preflight and then its request, the five calls of a page).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
/// What stands in the place of the service in ids of sticky cookies.
const GROUP: &str = "split";

/// The members of a route's split.
pub struct Split {
    /// Name of the route.
    route: Box<str>,
    members: Box<[Arc<Member>]>,
    /// The conditions of each member; None if it has none.
    conditions: Box<[Option<MemberConditions>]>,
    sticky: Option<Arc<StickyCookie>>,
}

/// One member of a split.
#[derive(Debug)]
pub struct Member {
    service: Box<str>,
    weight: u32,
    /// Its id in sticky cookies.
    id: u64,
    set: Box<[(Box<str>, Box<str>)]>,
    remove: Box<[Box<str>]>,
    /// What it adds to keys of the cache: its service, and what it changes, on which answers may depend.
    cache_key: Box<[u8]>,
    /// The cookie of its split.
    cookie: Option<Arc<StickyCookie>>,
}

/// Why a member was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenBy {
    /// The request meets its condition.
    When,
    /// The client's cookie names it.
    Sticky,
    /// By weight.
    Weight,
}

/// A member chosen for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Position of the member.
    pub index: usize,
    /// Why.
    pub by: ChosenBy,
}

/// Position of the member that was chosen for an exchange, and why.
#[derive(Clone, Debug, Default)]
pub struct ChosenMember(Option<(Arc<Member>, Choice)>);

impl FeatureMemory for ChosenMember {
    fn reset(&mut self) {
        self.0 = None;
    }
}

impl Feature for ChosenMember {
    const POSITION: FeatureSlot = FeatureSlot::Split;
}

impl Exchange {
    /// Returns the member of the route's split that was chosen for the request.
    #[inline]
    pub fn member(&self) -> Option<&Arc<Member>> {
        self.slots.get::<ChosenMember>()?.0.as_ref().map(|(member, _)| member)
    }

    /// Returns which member was chosen, and why.
    #[inline]
    pub fn choice(&self) -> Option<Choice> {
        self.slots.get::<ChosenMember>()?.0.as_ref().map(|(_, choice)| *choice)
    }

    /// Records the member that was chosen for the request.
    pub fn set_member(&mut self, member: &Arc<Member>, choice: Choice) {
        self.slots.get_or_default::<ChosenMember>().0 = Some((Arc::clone(member), choice));
    }

    /// Gives the request of another exchange the same member.
    pub fn copy_member(&self, to: &mut Self) {
        if let (Some(member), Some(choice)) = (self.member(), self.choice()) {
            to.set_member(member, choice);
        }
    }
}

impl Split {
    /// Compiles the split of a route, or returns everything that is wrong with it, with paths relative to the split.
    pub(super) fn build(route: &str, plan: &SplitPlan, patterns: &mut ValuePatterns) -> Result<Self, Vec<Problem>> {
        let mut problems = check(plan);
        let mut conditions = Vec::with_capacity(plan.members.len());
        for (index, member) in plan.members.iter().enumerate() {
            let at = format!("members[{index}].when");
            let built = member.when.as_ref().map(|when| MemberConditions::read(when, &at, patterns, &mut problems));
            conditions.push(built);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let secret = plan.sticky.as_ref().and_then(|sticky| sticky.secret.as_deref()).unwrap_or_default();
        let sticky = plan.sticky.as_ref().map(|sticky| Arc::new(StickyCookie::from_plan(sticky)));
        let members = plan.members.iter().map(|member| Arc::new(Member::build(member, secret, sticky.clone())));
        Ok(Self { route: route.into(), members: members.collect(), conditions: conditions.into(), sticky })
    }

    /// The members by position.
    pub fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// Chooses a member for the request. `available` says whether the service of a member can take a request now.
    /// Returns None if the request meets no condition and no member has a weight.
    fn choose(
        &self,
        exchange: &Exchange,
        mut meets: impl FnMut(&MemberConditions) -> bool,
        turns: &AtomicU64,
        available: impl Fn(usize) -> bool,
    ) -> Option<Choice> {
        let asked = self.conditions.iter().position(|one| one.as_ref().is_some_and(&mut meets));
        if let Some(index) = asked {
            return Some(Choice { index, by: ChosenBy::When });
        }
        if let Some(index) = self.remembered(exchange).filter(|&index| available(index)) {
            return Some(Choice { index, by: ChosenBy::Sticky });
        }
        let open = (0..self.members.len()).filter(|&index| available(index)).fold(0, |open, index| open | (1 << index));
        let turn = turns.fetch_add(1, Ordering::Relaxed);
        let index = self.by_weight(turn, open).or_else(|| self.by_weight(turn, u64::MAX))?;
        Some(Choice { index, by: ChosenBy::Weight })
    }

    /// Returns the member that the client's cookie names, unless it has lost its weight.
    fn remembered(&self, exchange: &Exchange) -> Option<usize> {
        let id = self.sticky.as_ref()?.read(exchange)?;
        self.members.iter().position(|member| member.id == id && member.weight > 0)
    }

    /// Returns the member of a turn among those in the set `open`, or None if none of them has a weight.
    fn by_weight(&self, turn: u64, open: u64) -> Option<usize> {
        let weight = |index: usize| u64::from(self.members[index].weight) * ((open >> index) & 1);
        let total: u64 = (0..self.members.len()).map(weight).sum();
        // Below `total`, as evenly as the points themselves.
        let mut left = ((u128::from(turn.wrapping_mul(STEP)) * u128::from(total)) >> 64) as u64;
        (0..self.members.len()).find(|&index| {
            let own = weight(index);
            let found = left < own;
            left = left.saturating_sub(own);
            found
        })
    }

    /// Appends the value of a Set-Cookie that keeps the client on the member of the request in `exchange`. Returns
    /// false if there is nothing to remember: the split is not sticky, the cookie is right already, or a condition has
    /// decided.
    pub fn write_cookie(&self, exchange: &Exchange, out: &mut Vec<u8>) -> bool {
        let Some(Choice { index, by: ChosenBy::Weight }) = exchange.choice() else { return false };
        let (Some(sticky), Some(member)) = (&self.sticky, self.members.get(index)) else { return false };
        sticky.write(member.id, exchange.request.origin.secure, out);
        true
    }
}

impl Member {
    fn build(plan: &MemberPlan, secret: &str, cookie: Option<Arc<StickyCookie>>) -> Self {
        let FieldChanges { set, remove } = &plan.headers;
        let mut cache_key = plan.service.clone().into_bytes();
        for (name, value) in set {
            cache_key.extend_from_slice(format!("\n{name}:{value}").as_bytes());
        }
        for name in remove {
            cache_key.extend_from_slice(format!("\n{name}").as_bytes());
        }
        Self {
            service: plan.service.as_str().into(),
            weight: plan.weight,
            id: sticky::id(secret, GROUP, &plan.service),
            set: set.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect(),
            remove: remove.iter().map(|name| name.as_str().into()).collect(),
            cache_key: cache_key.into(),
            cookie,
        }
    }

    /// Name of its service.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Its share of the requests that no condition decides, relative to the others.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Changes a request that goes to it.
    pub fn apply(&self, edits: &mut Edits) {
        for name in &self.remove {
            edits.remove(name.as_bytes());
        }
        for (name, value) in &self.set {
            // Cannot fail: every name and value was checked when the snapshot was built.
            let _ = edits.set(name.as_bytes(), value.as_bytes());
        }
    }

    /// Returns true if it changes the request field `name`.
    pub(crate) fn changes(&self, name: &str) -> bool {
        let mut names = self.set.iter().map(|(name, _)| name).chain(&self.remove);
        names.any(|own| own.eq_ignore_ascii_case(name))
    }

    /// What it adds to keys of the cache.
    pub(crate) fn cache_key(&self) -> &[u8] {
        &self.cache_key
    }

    /// Returns true if the request has no cookie but that of the split, which says nothing but what the key holds
    /// anyway.
    pub(crate) fn is_only_cookie(&self, exchange: &Exchange) -> bool {
        self.cookie.as_ref().is_some_and(|sticky| cookie::all(exchange).all(|(name, _)| name == sticky.name()))
    }
}

fn check(plan: &SplitPlan) -> Vec<Problem> {
    let mut problems = Vec::new();
    let members = &plan.members;
    if !(1..=MAX_MEMBERS).contains(&members.len()) {
        problems.push(Problem::at("members", format!("must have 1 to {MAX_MEMBERS} members")));
    }
    if members.iter().all(|member| member.weight == 0 && member.when.is_none()) {
        problems.push(Problem::at("members", "all weights are 0, so no member can be chosen"));
    }
    for (index, member) in members.iter().enumerate() {
        let weighted = |one: &MemberPlan| one.weight > 0 && one.service == member.service;
        if weighted(member) && members[..index].iter().any(weighted) {
            let message = "another member has this service and a weight; add the weights up there";
            problems.push(Problem::at(format!("members[{index}].service"), message));
        }
        let asks_nothing =
            |when: &WhenPlan| when.headers.is_empty() && when.cookies.is_empty() && when.expression.is_none();
        if member.when.as_ref().is_some_and(asks_nothing) {
            problems.push(Problem::at(format!("members[{index}].when"), "must have at least one condition"));
        }
    }
    problems
}
