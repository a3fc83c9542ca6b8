//! The connections to the servers that have keys.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use pylae_core::plan::StoreServer;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::call::Script;
use super::link::Link;
use super::shared::{NOT_YET, StoreShared, StoreState};
use super::slots::{Reach, SlotMap};

/// Most scripts that servers are given when they are connected. Others they get with their first call.
const MAX_SCRIPTS: usize = 64;
/// Most servers that are remembered, to be asked when others are gone.
const MAX_KNOWN: usize = 64;
/// Most servers of which is said why they are not connected.
const MAX_TOLD: usize = 3;

/// The connections, and which one has which keys.
pub(super) struct Links {
    pub(super) store: Arc<StoreShared>,
    /// By server, and whether they are for calls that wait for replicas.
    open: RefCell<HashMap<(StoreServer, bool), Rc<Link>>>,
    map: RefCell<Option<SlotMap>>,
    /// When the search began that has led to `map`.
    searched: Cell<Option<Instant>>,
    /// Why the last search has failed, if it has.
    search_failed: RefCell<Option<String>>,
    /// Why servers are not connected.
    failures: RefCell<HashMap<StoreServer, String>>,
    /// Servers to ask for others once none is connected.
    known: RefCell<Vec<StoreServer>>,
    /// Scripts that were called.
    scripts: RefCell<Vec<&'static Script>>,
    /// Why the node must not work with the others, if so.
    refused: RefCell<Option<String>>,
    changed: Notify,
}

impl Links {
    pub(super) fn new(store: Arc<StoreShared>) -> Rc<Self> {
        Rc::new(Self {
            store,
            open: RefCell::new(HashMap::new()),
            map: RefCell::default(),
            searched: Cell::default(),
            search_failed: RefCell::default(),
            failures: RefCell::default(),
            known: RefCell::default(),
            scripts: RefCell::default(),
            refused: RefCell::new(Some(NOT_YET.to_owned())),
            changed: Notify::new(),
        })
    }

    /// The connection to the server that has `key`, if the node may use it.
    pub(super) fn link(&self, key: &[u8]) -> Option<Rc<Link>> {
        if self.refused.borrow().is_some() { None } else { self.any_link(key) }
    }

    /// The connection to the server that has `key`.
    pub(super) fn any_link(&self, key: &[u8]) -> Option<Rc<Link>> {
        let map = self.map.borrow();
        self.link_to(map.as_ref()?.server(key)?, false)
    }

    /// The connection to a server.
    pub(super) fn link_to(&self, server: &StoreServer, replicated: bool) -> Option<Rc<Link>> {
        self.open.borrow().get(&(server.clone(), replicated)).filter(|link| !link.is_lost()).cloned()
    }

    pub(super) fn server(&self, key: &[u8]) -> Option<StoreServer> {
        self.map.borrow().as_ref()?.server(key).cloned()
    }

    pub(super) fn open_links(&self) -> Vec<Rc<Link>> {
        self.open.borrow().values().filter(|link| !link.replicated && !link.is_lost()).cloned().collect()
    }

    pub(super) fn known(&self) -> Vec<StoreServer> {
        self.known.borrow().clone()
    }

    /// Gives up a connection: what waits there gets no answer, and further calls fail at once.
    pub(super) fn lose(&self, link: &Rc<Link>, why: &str) {
        let removed = {
            let mut open = self.open.borrow_mut();
            let place = (link.server.clone(), link.replicated);
            let same = open.get(&place).is_some_and(|current| Rc::ptr_eq(current, link));
            if same { open.remove(&place) } else { None }
        };
        if removed.is_some() {
            self.fail(&link.server, why.to_owned());
            self.changed.notify_one();
        }
    }

    /// Notes why a server is not connected.
    pub(super) fn fail(&self, server: &StoreServer, why: String) {
        if self.wants(server) {
            self.failures.borrow_mut().insert(server.clone(), why);
        }
        self.publish();
    }

    /// Says which servers are connected now.
    pub(super) fn publish(&self) {
        let map = self.map.borrow();
        let servers = map.as_ref().map(SlotMap::servers).unwrap_or_default();
        let connected = servers.iter().filter(|server| self.is_connected(server)).count();
        let refused = self.refused.borrow().is_some();
        let reach = map.as_ref().filter(|_| !refused).map(|map| map.reach(|server| self.is_connected(server)));
        let reach = reach.unwrap_or(Reach::Nothing);
        self.store.set_state(StoreState { servers: servers.len(), connected, reach, problem: self.problem() });
    }

    /// Returns true if calls can be sent to a server, also those that wait for replicas if some do.
    fn is_connected(&self, server: &StoreServer) -> bool {
        let both = self.store.plan.wait_replicas > 0;
        self.link_to(server, false).is_some() && (!both || self.link_to(server, true).is_some())
    }

    /// Why not all keys can be reached, or None if they can.
    pub(super) fn problem(&self) -> Option<String> {
        let map = self.map.borrow();
        let search_failed = self.search_failed.borrow().clone();
        let Some(map) = &*map else { return search_failed.or_else(|| Some(NOT_YET.to_owned())) };
        let failures = self.failures.borrow();
        let lost: Vec<&StoreServer> = map.servers().iter().filter(|server| !self.is_connected(server)).collect();
        let whys = lost.iter().take(MAX_TOLD).map(|server| {
            let why = failures.get(server).map_or(NOT_YET, String::as_str);
            format!("{server}: {why}")
        });
        let whys = whys.collect::<Vec<_>>().join("; ");
        match (lost.len(), map.servers().len()) {
            // Who cannot be asked for servers is not missed while all are connected.
            (0, _) => map.gap().or_else(|| self.refusal()),
            (lost, all) if lost == all => Some(search_failed.unwrap_or(whys)),
            (lost, all) if all - lost == 1 => Some(format!("only 1 of {all} servers answers: {whys}")),
            (lost, all) => Some(format!("only {} of {all} servers answer: {whys}", all - lost)),
        }
    }

    /// Follows a redirection of a Cluster.
    pub(super) fn moved(&self, key: &[u8], server: &StoreServer) {
        if let Some(map) = &mut *self.map.borrow_mut() {
            map.set_server(key, server);
        }
        self.publish();
        self.changed.notify_one();
    }

    /// Remembers a script, to give it to servers that are connected later.
    pub(super) fn remember(&self, script: &'static Script) {
        let mut scripts = self.scripts.borrow_mut();
        if scripts.len() < MAX_SCRIPTS && !scripts.iter().any(|known| std::ptr::eq(*known, script)) {
            scripts.push(script);
        }
    }

    pub(super) fn scripts(&self) -> Vec<&'static Script> {
        self.scripts.borrow().clone()
    }

    /// Sets which servers have keys, and which can be asked for them, as a search has found that began at `since`. Of
    /// several searches the one counts that began last.
    pub(super) fn set_servers(&self, since: Instant, map: SlotMap, mut members: Vec<StoreServer>) {
        if self.searched.get().is_some_and(|searched| searched > since) {
            return;
        }
        self.searched.set(Some(since));
        *self.search_failed.borrow_mut() = None;
        members.truncate(MAX_KNOWN);
        if !members.is_empty() {
            *self.known.borrow_mut() = members;
        }
        self.open.borrow_mut().retain(|(server, _), link| map.servers().contains(server) && !link.is_lost());
        self.failures.borrow_mut().retain(|server, _| map.servers().contains(server));
        *self.map.borrow_mut() = Some(map);
    }

    /// Notes why it is not known which servers have keys.
    pub(super) fn fail_search(&self, why: String) {
        *self.search_failed.borrow_mut() = Some(why);
    }

    /// The servers that have keys, as far as somebody has said so.
    pub(super) fn wanted(&self) -> Vec<StoreServer> {
        self.map.borrow().as_ref().map(|map| map.servers().to_vec()).unwrap_or_default()
    }

    fn wants(&self, server: &StoreServer) -> bool {
        self.map.borrow().as_ref().is_some_and(|map| map.servers().contains(server))
    }

    /// Uses a connection, unless there is one already, or the server has no keys any more.
    pub(super) fn insert(&self, link: Rc<Link>) {
        let server = &link.server;
        if self.wants(server) && self.link_to(server, link.replicated).is_none() {
            self.failures.borrow_mut().remove(server);
            self.store.figures.connected();
            self.open.borrow_mut().insert((server.clone(), link.replicated), link);
        }
    }

    /// Why the node must not work with the others, if so.
    pub(super) fn refusal(&self) -> Option<String> {
        self.refused.borrow().clone()
    }

    pub(super) fn set_refusal(&self, why: Option<String>) {
        *self.refused.borrow_mut() = why;
    }

    /// Has the connections looked at soon.
    pub(super) fn notify(&self) {
        self.changed.notify_one();
    }

    /// Waits until the connections should be looked at.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}
