//! Finds out which servers have the keys: the one of the configuration, the one that Sentinels name, or those that
//! share the slots of a Cluster.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use pylae_core::plan::{StoreKind, StoreServer};
use redis::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::call::error_text;
use super::link::{Link, Purpose, text};
use super::links::Links;
use super::shared::StoreShared;
use super::slots::{ClusterView, SlotMap};

/// Most servers that are asked at once.
const MAX_ASKED: usize = 16;
/// How long further answers are waited for after the first one. The others know more, or less.
const GRACE: Duration = Duration::from_millis(50);
/// Time for an answer about servers.
const PATIENCE: Duration = Duration::from_millis(250);

/// Finds the servers that have keys, and all that can be asked for them.
pub(super) async fn find(links: &Links) -> Result<(SlotMap, Vec<StoreServer>), String> {
    let store = &links.store;
    match store.plan.kind {
        StoreKind::Single => match store.plan.servers.first() {
            Some(server) => Ok((SlotMap::one(server.clone()), Vec::new())),
            None => Err("no server is configured".to_owned()),
        },
        StoreKind::Sentinel => Ok((SlotMap::one(ask_sentinels(store).await?), Vec::new())),
        StoreKind::Cluster => {
            let views = ask_cluster(links).await?;
            let members = views.iter().flat_map(|view| view.members.iter().cloned()).collect();
            Ok((SlotMap::newest(&views), members))
        }
    }
}

/// Asks the Sentinels for the primary. The one that knows of the latest fail-over is right.
async fn ask_sentinels(store: &Arc<StoreShared>) -> Result<StoreServer, String> {
    let asked = store.plan.servers.iter().take(MAX_ASKED).cloned();
    let found = gather(asked.map(|sentinel| ask_sentinel(Arc::clone(store), sentinel))).await?;
    let newest = found.into_iter().max_by_key(|(epoch, _)| *epoch);
    newest.map(|(_, server)| server).ok_or_else(|| "no Sentinel is configured".to_owned())
}

async fn ask_sentinel(store: Arc<StoreShared>, sentinel: StoreServer) -> Result<(u64, StoreServer), String> {
    let name = store.plan.primary.clone().unwrap_or_default();
    let wrong = |what: String| format!("Sentinel {sentinel}: {what}");
    let link = Link::open(&store, &sentinel, Purpose::Sentinel, || {}).await.map_err(wrong)?;
    let mut pipeline = redis::pipe();
    pipeline.cmd("SENTINEL").arg("MASTER").arg(&name);
    let answers = link.send(&pipeline, PATIENCE).await.map_err(|broken| wrong(broken.to_string()))?;
    let fields = match answers.into_iter().next() {
        Some(Value::Array(fields)) => fields,
        Some(Value::ServerError(error)) => return Err(wrong(error_text(&error))),
        _ => return Err(wrong("no answer that can be read".to_owned())),
    };
    let field =
        |name: &str| fields.chunks_exact(2).find(|pair| text(&pair[0]) == Some(name)).and_then(|pair| text(&pair[1]));
    let port = field("port").and_then(|port| port.parse().ok());
    let (Some(host), Some(port)) = (field("ip"), port) else {
        return Err(wrong(format!("no primary named {name}")));
    };
    let epoch = field("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
    Ok((epoch, StoreServer { host: host.to_owned(), port }))
}

/// Asks servers of the Cluster which one has which slots: those that are connected, or else all that are known.
async fn ask_cluster(links: &Links) -> Result<Vec<ClusterView>, String> {
    let store = &links.store;
    let names = store.plan.tls.is_some();
    let open = links.open_links().into_iter().take(MAX_ASKED);
    if let Ok(views) = gather(open.map(|link| async move { view_of(&link, names).await })).await {
        return Ok(views);
    }
    let mut candidates = links.known();
    candidates.extend(store.plan.servers.iter().filter(|seed| !links.known().contains(seed)).cloned());
    let mut failed = "no server is configured".to_owned();
    for some in candidates.chunks(MAX_ASKED) {
        let asked = some.iter().cloned().map(|server| {
            let store = Arc::clone(store);
            async move {
                let wrong = |what: String| format!("{server}: {what}");
                let link = Link::open(&store, &server, Purpose::Calls, || {}).await.map_err(wrong)?;
                let state = link.greet(&[], PATIENCE).await.map_err(wrong)?;
                if let Some(what) = state.mismatch(StoreKind::Cluster) {
                    return Err(wrong(what));
                }
                view_of(&link, names).await
            }
        });
        match gather(asked).await {
            Ok(views) => return Ok(views),
            Err(what) => failed = what,
        }
    }
    Err(failed)
}

async fn view_of(link: &Link, names: bool) -> Result<ClusterView, String> {
    let wrong = |what: String| format!("{}: {what}", link.server);
    let mut pipeline = redis::pipe();
    pipeline.cmd("CLUSTER").arg("NODES");
    let answers = link.send(&pipeline, PATIENCE).await.map_err(|broken| wrong(broken.to_string()))?;
    match answers.first() {
        Some(Value::ServerError(error)) => Err(wrong(error_text(error))),
        Some(answer) => match text(answer) {
            Some(nodes) => Ok(ClusterView::read(nodes, &link.server, names)),
            None => Err(wrong("no answer that can be read".to_owned())),
        },
        None => Err(wrong("no answer".to_owned())),
    }
}

/// Runs everything at once. Returns what has succeeded by a moment after the first success, or why all have failed.
async fn gather<T: 'static>(
    asked: impl Iterator<Item = impl Future<Output = Result<T, String>> + 'static>,
) -> Result<Vec<T>, String> {
    let mut running = JoinSet::new();
    for one in asked {
        running.spawn_local(one);
    }
    let (mut found, mut failed, mut end) = (Vec::new(), None, Instant::now() + Duration::from_secs(3600));
    while let Ok(Some(joined)) = timeout_at(end, running.join_next()).await {
        match joined {
            Ok(Ok(answer)) => {
                if found.is_empty() {
                    end = Instant::now() + GRACE;
                }
                found.push(answer);
            }
            Ok(Err(what)) => failed = Some(what),
            Err(error) => failed = Some(error.to_string()),
        }
    }
    if found.is_empty() { Err(failed.unwrap_or_else(|| "nobody could be asked".to_owned())) } else { Ok(found) }
}
