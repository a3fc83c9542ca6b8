//! The nodes of the cluster: this one says that it lives, and counts the others.

use std::rc::Rc;
use std::time::Duration;

use redis::{Pipeline, Value};
use tokio::time::sleep;

use super::call::{Script, ScriptArg, ScriptCall, StoreValue};
use super::link::Link;
use super::links::Links;
use super::node::{LiveNode, NodeRecord};
use crate::io::clock;

/// How often a node says that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// A node that has not said so for this long counts as dead.
const LIFETIME: Duration = Duration::from_secs(5);
/// Most nodes that are looked at.
const MAX_LISTED: i64 = 1000;

/// Time for an answer about nodes.
const PATIENCE: Duration = Duration::from_millis(250);

/// Says that a node lives. Returns the number of those that do.
static ANNOUNCE: Script = Script::new("announce", include_str!("announce.lua"));
/// Lists the nodes that live, with the milliseconds since each has said so.
static LIST: Script = Script::new("nodes", include_str!("nodes.lua"));

/// Says once a second that this node lives, for ever.
pub(super) async fn announce(links: Rc<Links>) {
    loop {
        if let Some(link) = links.link(&key(&links)) {
            beat(&links, &link).await;
        }
        sleep(BEAT).await;
    }
}

/// Where the nodes are.
pub(super) fn key(links: &Links) -> Vec<u8> {
    links.store.key("nodes")
}

/// Looks whether this node may work with those that live, and says that it lives. `link` leads to the server that knows
/// them.
pub(super) async fn join(links: &Links, link: &Link) -> Result<(), String> {
    let refusal = listed(links, link).await?.iter().find_map(|(node, _)| node.mismatch());
    let may_work = refusal.is_none();
    links.set_refusal(refusal);
    if may_work {
        beat(links, link).await;
    }
    Ok(())
}

/// Says that this node lives, and learns who else does.
async fn beat(links: &Links, link: &Link) {
    let (store, key) = (&links.store, key(links));
    let (word, before) = store.node.speak();
    let mut args = vec![lifetime(), word.into()];
    args.extend(before.iter().cloned().map(ScriptArg::from));
    let mut pipeline = redis::pipe();
    ScriptCall { script: &ANNOUNCE, key: key.clone(), args }.add_to(&mut pipeline, true);
    if store.node.looks(store.nodes()) {
        list(key).add_to(&mut pipeline, true);
    }
    let sent = clock::now();
    // If it fails, the keeper finds out why.
    let Ok(answers) = link.send(&pipeline, PATIENCE).await else { return };
    let mut answers = answers.into_iter();
    if let Some(Value::Int(nodes)) = answers.next() {
        store.node.heard(&before, clock::now().since(sent));
        store.set_nodes(usize::try_from(nodes).unwrap_or(1));
    }
    if let Some(Ok(nodes)) = answers.next().map(StoreValue::read) {
        store.see(read(&nodes));
    }
}

fn lifetime() -> ScriptArg {
    ScriptArg::Integer(i64::try_from(LIFETIME.as_millis()).unwrap_or(i64::MAX))
}

/// Takes this node from those that live, as far as the store can be asked.
pub(super) async fn leave(links: &Links) {
    let key = key(links);
    let Some(link) = links.link(&key) else { return };
    let mut pipeline = redis::pipe();
    pipeline.cmd("ZREM").arg(&key[..]);
    for said in links.store.node.said() {
        pipeline.arg(said);
    }
    // Otherwise it is taken out after its lifetime.
    let _ = link.send(&pipeline, PATIENCE).await;
}

/// The nodes that live.
async fn listed(links: &Links, link: &Link) -> Result<Vec<LiveNode>, String> {
    let mut pipeline = Pipeline::new();
    list(key(links)).add_to(&mut pipeline, true);
    let answers = link.send(&pipeline, PATIENCE).await.map_err(|broken| broken.to_string())?;
    let answer = answers.into_iter().next().unwrap_or(Value::Nil);
    Ok(read(&StoreValue::read(answer)?))
}

fn list(key: Vec<u8>) -> ScriptCall {
    ScriptCall { script: &LIST, key, args: vec![lifetime(), ScriptArg::Integer(MAX_LISTED)] }
}

/// Reads the answer of [`LIST`].
fn read(answer: &StoreValue) -> Vec<LiveNode> {
    let nodes = answer.as_array().unwrap_or_default().chunks_exact(2);
    let read = nodes.filter_map(|pair| {
        let node = NodeRecord::read(pair[0].as_bytes()?);
        Some((node, u64::try_from(pair[1].as_integer()?).unwrap_or(0)))
    });
    read.collect()
}
