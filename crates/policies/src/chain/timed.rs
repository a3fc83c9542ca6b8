//! The same chain for exchanges that are timed: each part of a policy is between two looks at the clock.

use pylae_core::exchange::timing::{PolicyOutcome, PolicyPart};
use pylae_core::{Exchange, Instant, Resume, Verdict};

use super::Chain;
use crate::table::AnyPolicy;

/// Notes a run that has just ended. Returns when.
fn record(
    policy: &AnyPolicy,
    exchange: &mut Exchange,
    part: PolicyPart,
    (outcome, began): (PolicyOutcome, Instant),
) -> Instant {
    let ended = exchange.read_clock();
    exchange.add_run(policy.position() as u8, part, outcome, (began, ended))
}

impl AnyPolicy {
    /// Runs the body half.
    pub(super) fn timed_body(&self, exchange: &mut Exchange, body: &[u8], complete: bool) -> Verdict {
        let began = exchange.read_clock();
        let verdict = self.on_body(exchange, body, complete);
        record(self, exchange, PolicyPart::Body, (PolicyOutcome::of(&verdict), began));
        verdict
    }
}

impl Chain {
    /// As [`Chain::request`], for the policies that are `wanted`.
    #[cold]
    pub(super) fn timed_request(&self, exchange: &mut Exchange, wanted: impl Fn(&AnyPolicy) -> bool) -> Verdict {
        let mut began = exchange.read_clock();
        while let Some(policy) = self.policies.get(exchange.entered).filter(|policy| wanted(policy)) {
            exchange.entered += 1;
            let verdict = policy.on_request(exchange);
            began = record(policy, exchange, PolicyPart::Request, (PolicyOutcome::of(&verdict), began));
            if !matches!(verdict, Verdict::Continue) {
                return verdict;
            }
        }
        Verdict::Continue
    }

    /// Runs what follows a wait of the last entered policy.
    #[cold]
    pub(super) fn timed_resume(&self, exchange: &mut Exchange, resume: Resume) -> Verdict {
        let began = exchange.read_clock();
        let verdict = resume(exchange);
        if let Some(policy) = exchange.entered.checked_sub(1).and_then(|last| self.policies.get(last)) {
            record(policy, exchange, PolicyPart::Request, (PolicyOutcome::of(&verdict), began));
        }
        verdict
    }

    /// As [`Chain::response`]. What the halves do to the body later is timed as well.
    #[cold]
    pub(super) fn timed_response(&self, exchange: &mut Exchange) {
        let mut began = exchange.read_clock();
        while exchange.entered > 0 {
            exchange.entered -= 1;
            let policy = &self.policies[exchange.entered];
            let transforms = exchange.response.transforms.len();
            policy.on_response(exchange);
            exchange.time_transforms(policy.position() as u8, transforms);
            began = record(policy, exchange, PolicyPart::Response, (PolicyOutcome::Passed, began));
        }
    }

    /// Notes that a timed exchange has waited for the policy before index `next` from `began` on.
    pub fn record_wait(&self, next: usize, exchange: &mut Exchange, began: Instant) {
        if let Some(policy) = next.checked_sub(1).and_then(|last| self.policies.get(last)) {
            record(policy, exchange, PolicyPart::Wait, (PolicyOutcome::Passed, began));
        }
    }
}
