//! Decides requests as the gateway would, without a socket: the same stages, with the same code, up to the point where
//! an instance would be asked.

use pylae_core::request::websocket;
use pylae_core::route::Scratch;
use pylae_core::{Exchange, Halt, Plan, Problem, Verdict};
use pylae_policies::Chain;
use serde::Serialize;

use super::{Explanation, Question, build, explain_in, lossy, read};
use crate::flow::route;
use crate::reply::Reply;
use crate::snapshot::{Route, Snapshot};

/// Status of the answer of an instance that is not asked.
const ANSWERED: u16 = 200;

/// A request that was decided.
#[derive(Clone, Debug, Serialize)]
pub struct DecidedRequest {
    /// Status of the gateway's own answer; None if the request goes to an instance, or that cannot be told.
    status: Option<u16>,
    /// The policy that has answered, if one has.
    by: Option<&'static str>,
    /// Name of the route.
    route: Option<String>,
    /// Name of the service that gets the request.
    service: Option<String>,
    /// The fields that the gateway adds to the answer.
    fields: Vec<(String, String)>,
    /// Why it cannot be told what happens.
    undecided: Option<String>,
    explanation: Explanation,
}

/// What has become of a request.
enum Outcome {
    Forwarded,
    Halted(Halt),
    Answered(u16),
    Undecided(String),
}

/// Decides each question by itself, with counters and caches that are empty. Returns all problems of the plan; a
/// question that is no request has its problem in its place.
pub fn decide_all(
    plan: &Plan,
    questions: &[Question],
) -> Result<Vec<Result<DecidedRequest, Vec<Problem>>>, Vec<Problem>> {
    let mut snapshot = build(plan.clone())?;
    let mut decided = Vec::with_capacity(questions.len());
    for question in questions {
        let explanation = explain_in(&snapshot, question);
        let mut touched = false;
        let judged = explanation.and_then(|explanation| {
            let mut last = None;
            for _ in 0..question.times.max(1) {
                let mut exchange = read(question, &snapshot)?;
                last = Some(decide(&snapshot, question, &mut exchange, explanation.clone()));
                touched |= leaves_traces(&exchange);
            }
            // There was one at least.
            last.ok_or_else(Vec::new)
        });
        decided.push(judged);
        if touched {
            snapshot = build(plan.clone())?;
        }
    }
    Ok(decided)
}

/// Returns true if the exchange may have changed what the next one meets.
fn leaves_traces(exchange: &Exchange) -> bool {
    exchange.admitted().is_some() || exchange.cache().is_some() || exchange.response.status == 401
}

fn decide(
    snapshot: &Snapshot,
    question: &Question,
    exchange: &mut Exchange,
    explanation: Explanation,
) -> DecidedRequest {
    let mut by = None;
    let (route, outcome) = match find(snapshot, exchange, &mut by) {
        Ok(route) => {
            question.identify(route, exchange);
            (Some(route), run(route, question, exchange, &mut by))
        }
        Err(halt) => (None, Outcome::Halted(halt)),
    };
    let chain = route.map_or(&snapshot.unrouted, |route| &route.chain);
    let mut undecided = None;
    let mut service = None;
    let status = match outcome {
        Outcome::Halted(halt) => {
            let pages = route.and(exchange.route).map(|index| &snapshot.plan.routes[index].errors);
            let layers: Vec<_> = pages.into_iter().chain([&snapshot.plan.errors]).collect();
            let _ = Reply::from_halt(&halt, exchange, &layers);
            Some(halt.status())
        }
        Outcome::Answered(status) => Some(status),
        Outcome::Forwarded => {
            service = route.and_then(|route| route.own_target(exchange)).map(|service| service.name.to_string());
            exchange.response.status = ANSWERED;
            None
        }
        Outcome::Undecided(why) => {
            undecided = Some(why);
            None
        }
    };
    chain.response(exchange);
    let added = exchange.response.edits.added();
    let fields = added.map(|(name, value)| (lossy(name), lossy(value))).collect();
    let route = route.map(|route| route.name.to_string());
    DecidedRequest { status, by, route, service, fields, undecided, explanation }
}

/// Runs the stages up to the route.
fn find<'s>(snapshot: &'s Snapshot, exchange: &mut Exchange, by: &mut Option<&'static str>) -> Result<&'s Route, Halt> {
    if let Err(halt) = snapshot.admit(exchange, 1) {
        snapshot.unrouted.enter_all(exchange);
        return Err(halt);
    }
    if let Some(early) = &snapshot.early {
        let verdict = early.chain.request(exchange);
        let entered = std::mem::take(&mut exchange.entered);
        if let Verdict::Reject(rejection) = verdict {
            *by = early.chain.name_before(entered);
            return Err(Halt::Rejected(rejection));
        }
    }
    route::match_route(&mut Scratch::default(), snapshot, exchange)
        .map_err(|halt| {
            let halt = route::refuse(snapshot, exchange, halt);
            if matches!(halt, Halt::Rejected(_)) {
                *by = snapshot.unrouted.name_before(exchange.entered);
            }
            halt
        })
        .inspect(|found| {
            if let (Some(split), Some(index)) = (&found.split, exchange.route) {
                split.choose(&snapshot.router, index, &mut Scratch::default(), exchange);
            }
        })
}

/// Runs the policies of the route.
fn run(route: &Route, question: &Question, exchange: &mut Exchange, by: &mut Option<&'static str>) -> Outcome {
    if route.websocket.is_some()
        && let Err(halt) = websocket::admit(exchange)
    {
        return Outcome::Halted(halt);
    }
    let mut verdict = route.chain.request(exchange);
    let mut last = exchange.entered;
    if matches!(verdict, Verdict::Continue) && route.chain.body_limit().is_some() {
        let mut next = 0;
        verdict = route.chain.body(&mut next, exchange, question.body.as_bytes(), true);
        last = next;
    }
    let named = |chain: &Chain| chain.name_before(last);
    match verdict {
        Verdict::Continue if route.service.is_none() && route.split.is_none() => Outcome::Halted(Halt::NoService),
        Verdict::Continue => Outcome::Forwarded,
        Verdict::Reject(rejection) => {
            *by = named(&route.chain);
            Outcome::Halted(Halt::Rejected(rejection))
        }
        Verdict::Answer(answer) => {
            *by = named(&route.chain);
            let status = answer.status;
            let _ = Reply::own(*answer, exchange);
            Outcome::Answered(status)
        }
        Verdict::Stored(_) | Verdict::Join(_) | Verdict::Wait(_) => {
            *by = named(&route.chain);
            Outcome::Undecided(format!("{} takes more than the request", by.unwrap_or("a policy")))
        }
    }
}
