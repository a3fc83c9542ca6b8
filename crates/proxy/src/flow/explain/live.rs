//! Explains an exchange that is over: the same document as for a question, but of what has really happened, with times.

use pylae_core::exchange::timing::{PolicyOutcome, PolicyPart, PolicyRun, PolicyTimings};
use pylae_core::service::{AffinityKey, PickInput, Tried};
use pylae_core::trace::{HookPlace, HookStep, StepKind, TraceStep};
use pylae_core::{Exchange, Instant};
use pylae_policies::Chain;
use pylae_policies::access_log::Completion;
use pylae_policies::hooks::Hooked;
use serde_json::{Value, json};

use super::{Picking, considered, lossy};
use crate::snapshot::{Route, Service, Snapshot};

/// An exchange that is over, and what it belongs to.
pub(crate) struct LiveScope<'a> {
    pub(crate) id: &'a str,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) route: Option<&'a Route>,
    pub(crate) service: Option<&'a Service>,
    pub(crate) exchange: &'a Exchange,
    pub(crate) completion: Completion<'a>,
}

/// Longest document in bytes. Of a longer one the fields of request and response are left out.
const LONGEST: usize = 1 << 16;

impl LiveScope<'_> {
    /// Returns the trace as JSON.
    pub(crate) fn describe(&self) -> String {
        let mut document = self.document();
        let text = document.to_string();
        if text.len() <= LONGEST {
            return text;
        }
        for key in ["request_headers", "response_headers", "upstream_headers"] {
            document[key] = json!([]);
        }
        document["shortened"] = Value::Bool(true);
        document.to_string()
    }

    fn document(&self) -> Value {
        let Self { snapshot, exchange, .. } = self;
        let request = &exchange.request;
        let admitted = !request.target.path.is_empty();
        let outcome = match (self.route.is_some(), exchange.response.code) {
            (true, _) => "route",
            (_, Some("misdirected_request")) => "misdirected",
            (_, Some("no_route")) => "not_found",
            (_, Some("method_not_allowed")) => "method_not_allowed",
            _ if !admitted => "bad_request",
            _ => "ended_early",
        };
        let context = &exchange.trace_context;
        json!({
            "id": self.id,
            "trace_id": context.is_known().then(|| format!("{:032x}", context.trace_id)),
            "exchange": self.exchange_line(),
            "request_headers": self.fields(request.head.fields.iter().map(|field| {
                (field.name.of(&request.buffer), field.value.of(&request.buffer))
            })),
            "outcome": outcome,
            "detail": exchange.response.code.unwrap_or_default(),
            "status": exchange.response.status,
            "canonical_path": lossy(&request.target.path),
            "judged_path": lossy(request.target.routing_path()),
            "client": request.origin.client.to_string(),
            "route": self.chosen(),
            "websocket": request.upgrades.then_some("a handshake"),
            "considered": if admitted { considered(snapshot, exchange) } else { Vec::new() },
            "early": self.policies(snapshot.early.as_ref().map(|early| &early.chain), true),
            "policies": self.policies(Some(self.chain()), false),
            "split": null,
            "service": self.picking(),
            "upstream_path": self.asked().then(|| lossy(if request.forward_path.is_empty() {
                &request.target.path
            } else {
                &request.forward_path
            })),
            "upstream_host": self.upstream_host(),
            "upstream_headers": self.fields(request.edits.added().filter(|_| self.asked())),
            "page": null,
            "response_headers": self.response_headers(),
            "cache": exchange.cache_outcome().map(|outcome| format!("{outcome:?}").to_lowercase()),
            "steps": self.steps(),
            "missed": exchange.trace().map_or(0, pylae_core::trace::Trace::missed),
        })
    }

    fn chain(&self) -> &Chain {
        self.route.map_or(&self.snapshot.unrouted, |route| &route.chain)
    }

    /// Whether an instance was asked.
    fn asked(&self) -> bool {
        self.exchange.attempts > 0
    }

    /// The exchange as in the list of the latest ones: credentials are masked.
    fn exchange_line(&self) -> Value {
        let mut line = Vec::new();
        self.snapshot.description.write(self.exchange, &self.completion, &mut line);
        serde_json::from_slice(&line).unwrap_or_default()
    }

    fn fields<'f>(&self, fields: impl Iterator<Item = (&'f [u8], &'f [u8])>) -> Value {
        let mut list = Vec::new();
        self.snapshot.description.write_fields(fields, &mut list);
        serde_json::from_slice(&list).unwrap_or_default()
    }

    /// The fields of the answer: those of the instance that were sent on, then those of the gateway.
    fn response_headers(&self) -> Value {
        let response = &self.exchange.response;
        let source = response.fields();
        let kept = response.head.fields.iter().filter_map(|field| {
            let name = field.name.of(source.buf);
            let goes = source.edits.removes(field.id, name) || source.options.nominates(source.buf, name);
            (!goes).then(|| (name, field.value.of(source.buf)))
        });
        self.fields(kept.chain(response.edits.added()))
    }

    fn chosen(&self) -> Option<Value> {
        let (route, index) = (self.route?, self.exchange.route?);
        let request = &self.exchange.request;
        let values = request.params.iter().map(|span| lossy(span.of(request.target.routing_path())));
        let names = self.snapshot.router.params(index).iter().map(ToString::to_string);
        let params: serde_json::Map<_, _> = names.zip(values.map(Value::String)).collect();
        Some(json!({ "index": index, "name": route.name, "params": params }))
    }

    fn picking(&self) -> Option<Value> {
        let (service, exchange) = (self.service?, self.exchange);
        let AffinityKey { hash, sticky } = service.state.affinity_key(exchange);
        let input = PickInput { now: exchange.times.started, hash, sticky, avoid: Tried::NONE, random: 1 };
        let mut pick = service.state.explain_pick(&input);
        (pick.picked, pick.unavailable) = (None, None);
        let why = match (sticky, hash) {
            (Some(_), _) => ", with its sticky cookie",
            (None, Some(_)) => ", by the hash of its key",
            _ => "",
        };
        let how = match self.completion.instance.filter(|_| self.asked()) {
            Some(url) => format!("picked {url}{why}"),
            None => "asked no instance".to_owned(),
        };
        serde_json::to_value(Picking { how, ..Picking::new(&service.name, pick) }).ok()
    }

    fn upstream_host(&self) -> Option<String> {
        let (route, service) = (self.route?, self.service?);
        let instance = service.state.instances().nth(self.exchange.instance.filter(|_| self.asked())?)?;
        Some(lossy(service.host_for(instance, route.preserve_host, self.exchange)))
    }

    /// What each policy of a chain has decided, and how long it took.
    fn policies(&self, chain: Option<&Chain>, early: bool) -> Vec<Value> {
        let Some(timings) = self.exchange.timings() else { return Vec::new() };
        let names = chain.into_iter().flat_map(Chain::names);
        names.map(|(position, name)| describe_policy(timings, (position, name), early)).collect()
    }

    /// Everything with its time, in the order in which it began.
    fn steps(&self) -> Vec<Value> {
        let exchange = self.exchange;
        let policies = exchange.timings().map_or(&[][..], PolicyTimings::runs).iter();
        let policies = policies.filter(|run| run.part != PolicyPart::Wait);
        let policies = policies.map(|run| (run.began, run.ended, policy_step(run)));
        let others = exchange.trace().map_or(&[][..], |trace| trace.steps()).iter();
        let others = others.map(|step| (step.began, step.ended, self.other_step(step)));
        let mut all: Vec<(Instant, Instant, Value)> = policies.chain(others).collect();
        all.sort_by_key(|(began, ended, _)| (*began, *ended));
        let timed = all.into_iter().map(|(began, ended, mut step)| {
            step["at"] = json!(began.since(exchange.times.started).as_secs_f64());
            step["seconds"] = json!(ended.since(began).as_secs_f64());
            step
        });
        timed.collect()
    }

    fn other_step(&self, step: &TraceStep) -> Value {
        match step.kind {
            StepKind::Wait(what) => json!({ "kind": "wait", "name": what.name() }),
            StepKind::Attempt(attempt) => {
                let instances = self.service.map_or(&[][..], |service| &service.plan.instances[..]);
                json!({
                    "kind": "attempt",
                    "name": instances.get(attempt.instance).map(|instance| instance.url.as_str()),
                    "number": attempt.number,
                    "connection": attempt.connection.map(pylae_core::trace::ConnectionKind::name),
                    "outcome": attempt.outcome.map(|outcome| outcome.to_string()),
                })
            }
            StepKind::Hook(hook) => json!({
                "kind": "hook", "name": self.hook_name(hook), "part": format!("{:?}", hook.half).to_lowercase(),
                "early": hook.place == HookPlace::Early, "failed": hook.failed,
            }),
            StepKind::Cache(outcome) => {
                json!({ "kind": "cache", "name": "cache", "outcome": format!("{outcome:?}").to_lowercase() })
            }
            StepKind::Tunnel => json!({ "kind": "tunnel", "name": "tunnel" }),
        }
    }

    fn hook_name(&self, hook: HookStep) -> &str {
        let chain = match hook.place {
            HookPlace::Route => Some(self.chain()),
            HookPlace::Early => self.snapshot.early.as_ref().map(|early| &early.chain),
        };
        let calls = chain.and_then(|chain| chain.outlet::<Hooked>()).map_or(&[][..], Hooked::calls);
        calls.get(hook.index).map_or("", |call| &call.name)
    }
}

/// Outcome of a run as a phrase.
fn told(outcome: PolicyOutcome) -> String {
    match outcome {
        PolicyOutcome::Passed => "passed".to_owned(),
        PolicyOutcome::Rejected(status, code) => format!("refused with {status} ({code})"),
        PolicyOutcome::Answered(status) => format!("answered with {status}"),
        PolicyOutcome::Stored => "answered from the cache".to_owned(),
        PolicyOutcome::Waits => "waited".to_owned(),
    }
}

fn describe_policy(timings: &PolicyTimings, (position, name): (usize, &str), early: bool) -> Value {
    let runs = || timings.runs().iter().filter(|run| run.early == early && usize::from(run.position) == position);
    let time = |parts: &[PolicyPart]| -> f64 {
        runs().filter(|run| parts.contains(&run.part)).map(|run| run.time().as_secs_f64()).sum()
    };
    let decided = runs().rfind(|run| matches!(run.part, PolicyPart::Request | PolicyPart::Body));
    let bodies = timings.bodies().filter(|(of, _)| !early && usize::from(*of) == position);
    json!({
        "name": name,
        "decision": decided.map_or("was not reached".to_owned(), |run| match run.outcome {
            PolicyOutcome::Waits => "did not come to an end: the exchange ended while it waited".to_owned(),
            outcome => told(outcome),
        }),
        "seconds": time(&[PolicyPart::Request, PolicyPart::Body]),
        "waited": time(&[PolicyPart::Wait]),
        "response_seconds": time(&[PolicyPart::Response]),
        "body_seconds": bodies.map(|(_, spent)| spent.as_secs_f64()).sum::<f64>(),
    })
}

fn policy_step(run: &PolicyRun) -> Value {
    let name = pylae_policies::TABLE.get(usize::from(run.position)).map_or("", |row| row.name);
    json!({ "kind": "policy", "name": name, "part": run.part.name(), "early": run.early, "outcome": told(run.outcome) })
}
