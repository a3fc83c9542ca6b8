//! The connections to the servers that have keys.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use pylae_core::plan::StoreServer;
use tokio::sync::Notify;

use super::call::Script;
use super::link::Link;
use super::shared::StoreShared;
use super::slots::SlotMap;

/// Most scripts that servers are given when they are connected. Others they get with their first call.
const MAX_SCRIPTS: usize = 64;
/// Most servers that are remembered, to be asked when others are gone.
const MAX_KNOWN: usize = 64;

/// The connections, and which one has which keys.
pub(super) struct Links {
    pub(super) store: Arc<StoreShared>,
    /// By server, and whether they are for calls that wait for replicas.
    open: RefCell<HashMap<(StoreServer, bool), Rc<Link>>>,
    map: RefCell<Option<SlotMap>>,
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
            known: RefCell::default(),
            scripts: RefCell::default(),
            refused: RefCell::new(Some("not connected yet".to_owned())),
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
            self.store.set_problem(Some(format!("{}: {why}", link.server)));
            self.changed.notify_one();
        }
    }

    /// Follows a redirection of a Cluster.
    pub(super) fn moved(&self, key: &[u8], server: &StoreServer) {
        if let Some(map) = &mut *self.map.borrow_mut() {
            map.set_server(key, server);
        }
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

    /// Sets which servers have keys, and which can be asked for them.
    pub(super) fn set_servers(&self, map: SlotMap, mut members: Vec<StoreServer>) {
        members.truncate(MAX_KNOWN);
        if !members.is_empty() {
            *self.known.borrow_mut() = members;
        }
        self.open.borrow_mut().retain(|(server, _), link| map.servers().contains(server) && !link.is_lost());
        *self.map.borrow_mut() = Some(map);
    }

    /// The servers that have keys, or None if nobody has said so yet.
    pub(super) fn wanted(&self) -> Option<Vec<StoreServer>> {
        self.map.borrow().as_ref().map(|map| map.servers().to_vec())
    }

    /// Why not every key has a server, or None.
    pub(super) fn gap(&self) -> Option<String> {
        self.map.borrow().as_ref().and_then(SlotMap::gap)
    }

    pub(super) fn insert(&self, link: Rc<Link>) {
        self.open.borrow_mut().insert((link.server.clone(), link.replicated), link);
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
