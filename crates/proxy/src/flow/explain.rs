//! Explains what a plan would do with a request. The same code decides as for a real one, without a socket.

mod decide;
pub(crate) mod live;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use pylae_core::exchange::answer::{ErrorFormat, FoundPages};
use pylae_core::plan::ErrorPages;
use pylae_core::request::{forwarding, websocket};
use pylae_core::route::{By, RouteQuery, RouteVerdict, SplitExplanation};
use pylae_core::service::{AffinityKey, Candidate, PickExplanation, PickInput, Tried};
use pylae_core::{Exchange, Halt, Plan, Problem, User};
use pylae_http::encode::Via;
use pylae_policies::{Chain, PolicyShared};
use serde::{Deserialize, Serialize};

pub use self::decide::{DecidedRequest, decide_all};
use crate::io::clock;
use crate::snapshot::{PoolKeys, Route, Snapshot};
use crate::store::Store;

/// The request to explain.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    method: String,
    /// Request target, e.g. `/users/1?full=1`.
    target: String,
    /// Header fields, `Host` among them.
    headers: Vec<(String, String)>,
    /// Address of the connection's peer.
    client: IpAddr,
    /// True if the client speaks TLS.
    secure: bool,
    /// The user that authentication would find, in place of a credential.
    #[serde(default)]
    user: Option<GivenUser>,
    /// The request body.
    #[serde(default)]
    body: String,
    /// How many times the request is sent.
    #[serde(default = "once")]
    times: u32,
}

fn once() -> u32 {
    1
}

/// A user as a question has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenUser {
    id: String,
    email: String,
    role: String,
    permissions: Vec<String>,
    claims: serde_json::Map<String, serde_json::Value>,
}

/// What the plan would do with the request.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// `route`, `misdirected`, `not_found`, `method_not_allowed` or `bad_request`.
    outcome: &'static str,
    /// The outcome as a sentence.
    detail: String,
    status: Option<u16>,
    canonical_path: String,
    /// The canonical path without the parameters of its segments, as policies and routes see it.
    judged_path: String,
    client: String,
    route: Option<Chosen>,
    /// What happens to the WebSocket handshake, on a route that allows WebSocket.
    websocket: Option<String>,
    considered: Vec<ConsideredRoute>,
    /// What would run before a route is looked for.
    early: Vec<PolicyDecision>,
    policies: Vec<PolicyDecision>,
    /// Which member of the route's split would get it, on a route with one.
    split: Option<SplitExplanation>,
    service: Option<Picking>,
    upstream_path: Option<String>,
    /// The Host field that the instance would receive.
    upstream_host: Option<String>,
    upstream_headers: Vec<(String, String)>,
    /// The error page of a request that no route takes, if there is any for its status.
    page: Option<ShownPage>,
}

#[derive(Clone, Debug, Serialize)]
struct ShownPage {
    format: &'static str,
    /// The statuses that the page is for; None if the body is the gateway's own.
    key: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Chosen {
    index: usize,
    name: String,
    params: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize)]
struct ConsideredRoute {
    route: String,
    index: usize,
    verdict: String,
    /// Why the chosen route takes precedence, if this route matches the request as well.
    by: Option<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
struct PolicyDecision {
    name: &'static str,
    decision: String,
}

#[derive(Clone, Debug, Serialize)]
struct Picking {
    name: String,
    balancer: &'static str,
    /// The decision as a sentence.
    how: String,
    instances: Vec<Candidate>,
}

impl Picking {
    fn new(name: &str, pick: PickExplanation) -> Self {
        let decision = match (pick.picked, pick.unavailable) {
            (Some(picked), _) => format!("would pick {picked} now"),
            (None, Some(why)) => why,
            (None, None) => "would pick none now".to_owned(),
        };
        let panic = if pick.panic { ", health ignored because too few instances are healthy" } else { "" };
        Self {
            name: name.to_owned(),
            balancer: pick.balancer,
            how: format!("{decision}{panic}"),
            instances: pick.candidates,
        }
    }
}

impl Question {
    /// Sets the user of the question where the route would have found one.
    fn identify(&self, route: &Route, exchange: &mut Exchange) {
        let Some(GivenUser { id, email, role, permissions, claims }) = self.user.clone() else { return };
        if route.chain.authenticates() {
            exchange.request.user = Some(Arc::new(User { id, email, role, permissions, claims, via: "given" }));
        }
    }
}

/// Builds a snapshot of the plan with empty counters.
fn build(plan: Plan) -> Result<Snapshot, Vec<Problem>> {
    let shared = Arc::new(PolicyShared::new(plan.limits.max_keys).with_cache(plan.limits.cache_size));
    Snapshot::build(plan, None, &mut PoolKeys::default(), &shared)
}

/// Builds the plan and drops it. Returns its warnings, or all its problems if it cannot be built.
pub fn check(plan: Plan) -> Result<Vec<Problem>, Vec<Problem>> {
    if let Some(cluster) = &plan.cluster {
        Store::check(cluster)
            .map_err(|found| found.into_iter().map(|problem| problem.under("cluster")).collect::<Vec<_>>())?;
    }
    let snapshot = build(plan)?;
    Ok(snapshot.warnings())
}

/// Explains what `plan` would do with a request. Returns all problems of the plan, or why `question` is not a request.
pub fn explain(plan: Plan, question: &Question) -> Result<Explanation, Vec<Problem>> {
    explain_in(&build(plan)?, question)
}

fn explain_in(snapshot: &Snapshot, question: &Question) -> Result<Explanation, Vec<Problem>> {
    let mut exchange = read(question, snapshot)?;
    let mut answer = Explanation {
        outcome: "route",
        detail: String::new(),
        status: None,
        canonical_path: String::new(),
        judged_path: String::new(),
        client: String::new(),
        route: None,
        websocket: None,
        considered: Vec::new(),
        early: Vec::new(),
        policies: Vec::new(),
        split: None,
        service: None,
        upstream_path: None,
        upstream_host: None,
        upstream_headers: Vec::new(),
        page: None,
    };
    let routed = snapshot.admit(&mut exchange, 1).and_then(|()| {
        answer.early = snapshot.early.as_ref().map_or_else(Vec::new, |early| preview(&early.chain, &mut exchange));
        crate::flow::route::match_route(&mut pylae_core::route::Scratch::default(), snapshot, &mut exchange)
    });
    answer.canonical_path = lossy(&exchange.request.target.path);
    answer.judged_path = lossy(exchange.request.target.routing_path());
    answer.client = exchange.request.origin.client.to_string();
    if !exchange.request.target.path.is_empty() && !matches!(routed, Err(Halt::Misdirected)) {
        answer.considered = considered(snapshot, &exchange);
    }
    match routed {
        Ok(route) => {
            question.identify(route, &mut exchange);
            describe_route(snapshot, route, &mut exchange, &mut answer);
        }
        Err(halt) => {
            answer.outcome = match halt {
                Halt::Misdirected => "misdirected",
                Halt::NotFound => "not_found",
                Halt::MethodNotAllowed(_) => "method_not_allowed",
                _ => "bad_request",
            };
            answer.detail = halt.detail().into_owned();
            answer.status = Some(halt.status());
            answer.page = shown_page(&snapshot.plan.errors, halt.status(), &exchange);
        }
    }
    Ok(answer)
}

/// The page that the client would be shown for an error, if there are pages for its status.
fn shown_page(pages: &ErrorPages, status: u16, exchange: &Exchange) -> Option<ShownPage> {
    let found = Some(FoundPages::of(status, &[pages])).filter(FoundPages::is_some)?;
    let (format, page) = match found.choose(exchange.request.values("accept")) {
        ErrorFormat::Html => ("html", found.html),
        ErrorFormat::Json => ("json", found.json),
        ErrorFormat::Text => ("text", None),
    };
    Some(ShownPage { format, key: page.map(|(key, _)| key.to_string()) })
}

/// Parses the request as the codec reads it from the wire.
fn read(question: &Question, snapshot: &Snapshot) -> Result<Exchange, Vec<Problem>> {
    let mut exchange = Exchange::new(0);
    // A question without Host is taken for HTTP/1.0, where the field is optional.
    let version =
        if question.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) { "1.1" } else { "1.0" };
    let line = format!("{} {} HTTP/{version}\r\n", question.method, question.target);
    exchange.request.buffer.extend_from_slice(line.as_bytes());
    for (name, value) in &question.headers {
        exchange.request.buffer.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    exchange.request.buffer.extend_from_slice(b"\r\n");
    exchange.request.origin.peer = (question.client, 0).into();
    exchange.request.origin.secure = question.secure;
    (exchange.times.wall, exchange.times.now) = (clock::wall(), clock::now());
    match exchange.request.head.parse(&exchange.request.buffer, &snapshot.head_limits) {
        Ok(true) if exchange.request.head.len == exchange.request.buffer.len() => Ok(exchange),
        Ok(_) => Err(vec![Problem::at("", "this is not one request")]),
        Err(error) => Err(vec![Problem::at("", Halt::Head(error).detail())]),
    }
}

fn preview(chain: &Chain, exchange: &mut Exchange) -> Vec<PolicyDecision> {
    chain.preview(exchange).into_iter().map(|(name, decision)| PolicyDecision { name, decision }).collect()
}

fn considered(snapshot: &Snapshot, exchange: &Exchange) -> Vec<ConsideredRoute> {
    let found = snapshot.router.explain(&RouteQuery::of(exchange)).into_iter();
    let named = found.map(|considered| ConsideredRoute {
        route: snapshot.routes[considered.route].name.to_string(),
        index: considered.route,
        by: match considered.verdict {
            RouteVerdict::Shadowed(By::Priority) => Some("priority"),
            RouteVerdict::Shadowed(By::Host) => Some("host"),
            RouteVerdict::Shadowed(By::Path) => Some("path"),
            RouteVerdict::Shadowed(By::Conditions) => Some("conditions"),
            RouteVerdict::Shadowed(By::Declaration) => Some("declaration"),
            RouteVerdict::Shadowed(By::Head) => Some("head"),
            _ => None,
        },
        verdict: match considered.verdict {
            RouteVerdict::Chosen => "chosen".to_owned(),
            RouteVerdict::Shadowed(_) => "shadowed".to_owned(),
            RouteVerdict::Host => "host".to_owned(),
            RouteVerdict::Path => "path".to_owned(),
            RouteVerdict::Method => "method".to_owned(),
            RouteVerdict::Header(name) => format!("header:{name}"),
            RouteVerdict::Query(name) => format!("query:{name}"),
        },
    });
    named.collect()
}

/// Describes what happens once the route is chosen: WebSocket, policies, forwarded head and instance.
fn describe_route(snapshot: &Snapshot, route: &Route, exchange: &mut Exchange, answer: &mut Explanation) {
    let index = exchange.route.unwrap_or_default();
    let values = exchange.request.params.iter().map(|span| lossy(span.of(exchange.request.target.routing_path())));
    let params = snapshot.router.params(index).iter().map(ToString::to_string).zip(values).collect();
    answer.route = Some(Chosen { index, name: route.name.to_string(), params });
    answer.detail = format!("route `{}` takes the request", route.name);
    answer.websocket = route.websocket.is_some().then(|| match websocket::admit(exchange) {
        Ok(()) if exchange.request.upgrades => "a handshake, which the instance may grant".to_owned(),
        Ok(()) => "allowed, but not asked for".to_owned(),
        Err(halt) => format!("refused with {}: {}", halt.status(), halt.detail()),
    });
    answer.split = choose_member(snapshot, route, exchange);
    answer.policies = preview(&route.chain, exchange);
    let path = if exchange.request.forward_path.is_empty() {
        &exchange.request.target.path
    } else {
        &exchange.request.forward_path
    };
    answer.upstream_path = Some(lossy(path));
    if let (Some(split), Some(service)) = (&route.split, route.own_target(exchange)) {
        split.apply_changes(service, exchange);
    }
    if forwarding::add_fields(exchange, &exchange.request.origin.peer.ip().to_string(), &mut Vec::new()).is_ok() {
        let added = exchange.request.edits.added();
        answer.upstream_headers = added.map(|(name, value)| (lossy(name), lossy(value))).collect();
        // A question has no protocol version. Via states HTTP/1.1, with or without a Host.
        let via = snapshot.plan.via.then(|| ("Via".to_owned(), Via::Http11.member().to_owned()));
        answer.upstream_headers.extend(via);
    }
    if let Some(service) = route.own_target(exchange) {
        let AffinityKey { hash, sticky } = service.state.affinity_key(exchange);
        let input = PickInput { now: clock::now(), hash, sticky, avoid: Tried::NONE, random: 1 };
        let pick = service.state.explain_pick(&input);
        let picked = service.state.instances().find(|instance| Some(instance.url()) == pick.picked.as_deref());
        answer.upstream_host = picked.map(|instance| lossy(service.host_for(instance, route.preserve_host, exchange)));
        answer.service = Some(Picking::new(&service.name, pick));
    }
}

/// Chooses the member of the route's split, if it has one, and explains the choice.
fn choose_member(snapshot: &Snapshot, route: &Route, exchange: &mut Exchange) -> Option<SplitExplanation> {
    let (split, now) = (route.split.as_ref()?, clock::now());
    let available = |index| split.is_available(index, now);
    let (choice, explanation) = snapshot.router.explain_split(exchange.route?, exchange, available)?;
    if let Some(choice) = choice {
        split.set(choice, exchange);
    }
    Some(explanation)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
