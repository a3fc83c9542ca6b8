//! Keeps connections to the servers that have keys.

use std::rc::Rc;
use std::time::Duration;

use pylae_core::plan::{StoreKind, StoreServer};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::call::Script;
use super::link::{Link, Purpose};
use super::links::Links;
use super::{nodes, servers};

/// How often everything is looked at while all is well.
const REFRESH: Duration = Duration::from_secs(1);
/// The first and the longest pause between attempts to connect. Half of each is random. The longest one is short, so
/// that limits are exact again soon after the store is back.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(150);
/// Connections that lasted for this long are tried again at once.
const SOUND: Duration = Duration::from_secs(1);

/// Keeps the connections, for ever.
pub(super) async fn keep(links: Rc<Links>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let problem = refresh(&links).await;
        let complete = problem.is_none();
        links.store.set_problem(problem);
        if complete {
            let since = Instant::now();
            tokio::select! {
                () = links.changed() => {}
                () = sleep(REFRESH) => {}
            }
            if since.elapsed() >= SOUND {
                pause = FIRST_PAUSE;
                continue;
            }
        }
        sleep(pause / 2 + pause.mul_f64(fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Looks for the servers, and connects those that are not. Returns why not all are, or None.
async fn refresh(links: &Rc<Links>) -> Option<String> {
    let failed = match servers::find(links).await {
        Ok((map, members)) => {
            links.set_servers(map, members);
            None
        }
        Err(what) => Some(what),
    };
    let Some(wanted) = links.wanted() else { return failed };
    let mut working = JoinSet::new();
    for server in wanted {
        working.spawn_local(ensure(Rc::clone(links), server.clone(), Purpose::Calls));
        if links.store.plan.wait_replicas > 0 {
            working.spawn_local(ensure(Rc::clone(links), server, Purpose::Replicated));
        }
    }
    let mut problem = None;
    while let Some(done) = working.join_next().await {
        problem = problem.or(done.map_err(|error| error.to_string()).and_then(|done| done).err());
    }
    // Who cannot be asked for servers is not missed while all are connected.
    let problem = problem.map(|problem| failed.unwrap_or(problem)).or_else(|| links.gap());
    if problem.is_some() {
        return problem;
    }
    if links.refusal().is_some() || !links.store.is_available() {
        // While this node was away, nobody has seen it.
        links.set_refusal(nodes::refusal(links).await);
    }
    let refusal = links.refusal();
    if refusal.is_none() && !links.store.is_available() {
        // Whoever then asks the store knows how many nodes there are.
        nodes::beat(links).await;
    }
    refusal
}

/// Connects a server, or looks whether it is still well.
async fn ensure(links: Rc<Links>, server: StoreServer, purpose: Purpose) -> Result<(), String> {
    let wrong = |what: String| format!("{server}: {what}");
    if let Some(link) = links.link_to(&server, purpose == Purpose::Replicated) {
        if link.replicated {
            // It may wait for replicas at the moment.
            return Ok(());
        }
        return greet(&links, &link, &[]).await.map_err(|what| {
            links.lose(&link, &what);
            wrong(what)
        });
    }
    let for_loss = Rc::downgrade(&links);
    let on_loss = move || {
        if let Some(links) = for_loss.upgrade() {
            links.notify();
        }
    };
    let link = Link::open(&links.store, &server, purpose, on_loss).await.map_err(wrong)?;
    greet(&links, &link, &links.scripts()).await.map_err(wrong)?;
    links.store.figures.connected();
    links.insert(link);
    Ok(())
}

/// Looks whether a server answers in time, and is what the configuration says.
async fn greet(links: &Links, link: &Link, scripts: &[&Script]) -> Result<(), String> {
    let state = link.greet(scripts, links.store.timeout()).await?;
    let kind = links.store.plan.kind;
    match state.mismatch(kind) {
        Some(what) => Err(what),
        None if kind == StoreKind::Cluster && state.role != "master" => Err("is a replica by now".to_owned()),
        None => Ok(()),
    }
}
