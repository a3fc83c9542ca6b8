//! The early stage: what runs before a route is looked for, and around everything else.

use std::time::Duration;

use pylae_core::request::readmit;
use pylae_core::{Halt, Verdict, hook};
use pylae_policies::Policy;
use pylae_policies::hooks::Hooked;
use tracing::debug;

use super::ResponseCall;
use crate::flow::Flow;
use crate::reply::Reply;
use crate::snapshot::EarlyStage;

/// How long an early policy may wait: far longer than a store of counters, whose calls have time-outs of their own.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

impl<'a> Flow<'a> {
    /// Runs the early policies and request hooks, and makes what hooks have set the request itself. Returns the reply
    /// if one of them answers; the policies for unrouted requests shape it.
    pub(in crate::flow) async fn early_request(&mut self, early: &EarlyStage) -> Result<Option<Reply<'a>>, Halt> {
        let result = self.run_early(early).await;
        if !matches!(result, Ok(None)) {
            self.snapshot.unrouted.enter_all(self.exchange);
        }
        result
    }

    async fn run_early(&mut self, early: &EarlyStage) -> Result<Option<Reply<'a>>, Halt> {
        self.exchange.set_early(true);
        let mut verdict = early.chain.request(self.exchange);
        while let Verdict::Wait(mut wait) = verdict {
            let began = self.wait_began();
            let waited = self.client.wait_for(LONGEST_WAIT, self.exchange, |cx| wait.as_mut().poll(cx)).await;
            self.wait_ended(&early.chain, None, began);
            let Some(resume) = waited? else {
                let halt = Halt::PolicyTimeout;
                self.count_refusal_in(&early.chain, early.series.as_ref(), self.exchange.entered, halt.status());
                return Err(halt);
            };
            verdict = early.chain.resume(self.exchange, resume);
        }
        self.exchange.set_early(false);
        self.entered_early = std::mem::take(&mut self.exchange.entered);
        match verdict {
            Verdict::Continue => {}
            Verdict::Reject(rejection) => {
                debug!(
                    id = %self.exchange.request.id.escape_ascii(), code = rejection.code,
                    policy = early.chain.name_before(self.entered_early), "rejected by an early policy"
                );
                let status = rejection.status;
                self.count_refusal_in(&early.chain, early.series.as_ref(), self.entered_early, status);
                return Err(Halt::Rejected(rejection));
            }
            // The policies that may stand here do nothing else.
            _ => return Err(Halt::Rejected(Box::new(hook::failure()))),
        }
        let Some(hooks) = early.hooks.as_deref() else { return Ok(None) };
        // The bodies of a call are a protocol of their own.
        let policy = early.chain.outlet::<Hooked>().filter(|_| !self.exchange.is_call());
        if let Some(limit) = policy.and_then(Policy::body_limit) {
            self.buffer_body(limit).await?;
        }
        if let Some(answer) = self.call_request_hooks(hooks, policy).await? {
            return Ok(Some(Reply::own(*answer, self.exchange)));
        }
        let before = self.exchange.request.head.len;
        let readmitted = readmit::readmit(self.exchange, &self.snapshot.head_limits);
        self.client.body.shift(before, self.exchange.request.head.len);
        if readmitted.is_err() {
            self.client.body.mark_broken();
        }
        self.ask_for_uncoded(policy);
        readmitted.map(|()| None)
    }

    /// Runs the response halves of the early policies, then the early response hooks, which see every answer. Returns
    /// the reply to send.
    pub(in crate::flow) async fn early_response(&mut self, early: &EarlyStage, reply: Reply<'a>) -> Reply<'a> {
        self.exchange.entered = std::mem::take(&mut self.entered_early);
        self.exchange.set_early(true);
        early.chain.response(self.exchange);
        let Some(hooks) = early.hooks.as_deref() else { return reply };
        // What HTTP/2 refuses has no answer.
        if self.client.socket.refusal().is_some() {
            return reply;
        }
        let call = match self.has_request {
            false => ResponseCall::Refusal,
            true if self.exchange.response.status == 101 || self.exchange.is_call() => ResponseCall::Fixed,
            true => ResponseCall::Request,
        };
        let policy = early.chain.outlet::<Hooked>().filter(|_| call != ResponseCall::Fixed);
        self.call_response_hooks(hooks, policy, call, reply).await
    }
}
