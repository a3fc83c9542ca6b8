//! Keeps connections to the servers that have keys.

use std::rc::Rc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};
use pylae_core::plan::{StoreKind, StoreServer};
use tokio::task::{self, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

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
/// When the first attempt counts as ended, even if servers do not answer.
const FIRST_ATTEMPT: Duration = Duration::from_millis(500);
/// An errand that takes longer is begun once more. What was lost on its way would be waited for too long; but a server
/// that is merely busy may take long, so that the first one goes on.
const OVERDUE: Duration = Duration::from_millis(250);
/// How often an errand can be under way.
const MOST_AT_ONCE: usize = 4;

/// Keeps the connections, for ever.
pub(super) async fn keep(links: Rc<Links>) {
    let mut errands = Errands::new(Rc::clone(&links));
    let (mut pause, begin) = (FIRST_PAUSE, Instant::now());
    loop {
        let since = Instant::now();
        let next = since + pause / 2 + pause.mul_f64(fastrand::f64() / 2.0);
        errands.begin(Errand::Search);
        errands.begin_connecting();
        // A server that does not answer holds up nothing but itself.
        if timeout_at(next, errands.ended()).await.is_ok() || begin.elapsed() >= FIRST_ATTEMPT {
            links.store.set_attempted();
        }
        if let (Some(_), Some(link)) = (links.refusal(), links.any_link(&nodes::key(&links))) {
            let _ = nodes::join(&links, &link).await.inspect_err(|what| links.lose(&link, what));
        }
        links.publish();
        if links.problem().is_none() {
            links.store.set_attempted();
            tokio::select! {
                () = links.changed() => {}
                () = sleep(REFRESH) => {}
            }
            if since.elapsed() >= SOUND {
                pause = FIRST_PAUSE;
                continue;
            }
        }
        sleep_until(next).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Something that the keeper has to do, and that may take long.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Errand {
    /// Find out which servers have keys.
    Search,
    /// Connect a server, or look whether it is still well.
    Connect(StoreServer, Purpose),
}

/// What is under way.
struct Errands {
    links: Rc<Links>,
    running: JoinSet<()>,
    begun: HashMap<task::Id, (Errand, Instant)>,
}

impl Errands {
    fn new(links: Rc<Links>) -> Self {
        Self { links, running: JoinSet::new(), begun: HashMap::new() }
    }

    /// Begins an errand, unless it is under way and may still succeed soon.
    fn begin(&mut self, errand: Errand) {
        let same = self.begun.values().filter(|(begun, _)| *begun == errand);
        let (count, recent) =
            same.fold((0, false), |(count, recent), (_, since)| (count + 1, recent || since.elapsed() < OVERDUE));
        if recent || count >= MOST_AT_ONCE {
            return;
        }
        let task = self.running.spawn_local(run(Rc::clone(&self.links), errand.clone()));
        self.begun.insert(task.id(), (errand, Instant::now()));
    }

    fn begin_connecting(&mut self) {
        for server in self.links.wanted() {
            if self.links.store.plan.wait_replicas > 0 {
                self.begin(Errand::Connect(server.clone(), Purpose::Replicated));
            }
            self.begin(Errand::Connect(server, Purpose::Calls));
        }
    }

    /// Waits until nothing is under way. Connects the servers that a search has found.
    async fn ended(&mut self) {
        while let Some(ended) = self.running.join_next_with_id().await {
            // What has panicked is begun again by the next round.
            let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
            if let Some((Errand::Search, _)) = self.begun.remove(&id) {
                self.begin_connecting();
            }
        }
    }
}

async fn run(links: Rc<Links>, errand: Errand) {
    match errand {
        Errand::Search => {
            let since = Instant::now();
            match servers::find(&links).await {
                Ok((map, members)) => links.set_servers(since, map, members),
                Err(what) => links.fail_search(what),
            }
        }
        Errand::Connect(server, purpose) => match ensure(&links, &server, purpose).await {
            Ok(()) => links.publish(),
            Err(what) => links.fail(&server, what),
        },
    }
}

/// Connects a server, or looks whether it is still well.
async fn ensure(links: &Rc<Links>, server: &StoreServer, purpose: Purpose) -> Result<(), String> {
    if let Some(link) = links.link_to(server, purpose == Purpose::Replicated) {
        if link.replicated {
            // It may wait for replicas at the moment.
            return Ok(());
        }
        return greet(links, &link, &[]).await.inspect_err(|what| links.lose(&link, what));
    }
    let for_loss = Rc::downgrade(links);
    let on_loss = move || {
        if let Some(links) = for_loss.upgrade() {
            links.publish();
            links.notify();
        }
    };
    let link = Link::open(&links.store, server, purpose, on_loss).await?;
    greet(links, &link, &links.scripts()).await?;
    if purpose == Purpose::Calls && links.server(&nodes::key(links)).as_ref() == Some(server) {
        // While this node was away, nobody has seen it. Whoever then asks the store knows how many nodes there are.
        nodes::join(links, &link).await?;
    }
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
