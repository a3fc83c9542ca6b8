//! The nodes of the cluster: this one says that it lives, and counts the others.

use std::rc::Rc;
use std::time::Duration;

use redis::{Pipeline, Value};
use tokio::time::sleep;

use super::call::{Script, ScriptArg, ScriptCall, StoreValue};
use super::links::Links;
use super::node::{NodeRecord, PROTOCOL};

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
        if links.store.is_available() {
            beat(&links).await;
        }
        sleep(BEAT).await;
    }
}

async fn beat(links: &Links) {
    let key = links.store.key("nodes");
    let Some(link) = links.link(&key) else { return };
    let args = vec![lifetime(), links.store.node.member().into()];
    let mut pipeline = redis::pipe();
    ScriptCall { script: &ANNOUNCE, key, args }.add_to(&mut pipeline, true);
    // If it fails, the keeper finds out why.
    let Ok(answers) = link.send(&pipeline, PATIENCE).await else { return };
    if let Some(Value::Int(nodes)) = answers.first() {
        links.store.set_nodes(usize::try_from(*nodes).unwrap_or(1));
    }
}

fn lifetime() -> ScriptArg {
    ScriptArg::Integer(i64::try_from(LIFETIME.as_millis()).unwrap_or(i64::MAX))
}

/// Takes this node from those that live, as far as the store can be asked.
pub(super) async fn leave(links: &Links) {
    let key = links.store.key("nodes");
    let Some(link) = links.link(&key) else { return };
    let mut pipeline = redis::pipe();
    pipeline.cmd("ZREM").arg(&key[..]).arg(links.store.node.member());
    // Otherwise it is taken out after its lifetime.
    let _ = link.send(&pipeline, PATIENCE).await;
}

/// Why this node must not work together with those that live, or None.
pub(super) async fn refusal(links: &Links) -> Option<String> {
    match listed(links).await {
        Ok(nodes) => {
            let other = nodes.iter().find(|node| node.protocol.abs_diff(PROTOCOL) > 1)?;
            Some(format!(
                "node {} has version {} of Pylae, which does not work together with {}: their protocols are {} and \
                 {PROTOCOL}",
                other.name,
                other.version,
                env!("CARGO_PKG_VERSION"),
                other.protocol,
            ))
        }
        Err(what) => Some(what),
    }
}

/// The nodes that live.
async fn listed(links: &Links) -> Result<Vec<NodeRecord>, String> {
    let key = links.store.key("nodes");
    let link = links.any_link(&key).ok_or("the server that knows the nodes is not connected")?;
    let args = vec![lifetime(), ScriptArg::Integer(MAX_LISTED)];
    let mut pipeline = Pipeline::new();
    ScriptCall { script: &LIST, key, args }.add_to(&mut pipeline, true);
    let answers = link.send(&pipeline, PATIENCE).await.map_err(|broken| broken.to_string())?;
    let answer = answers.into_iter().next().unwrap_or(Value::Nil);
    let value = StoreValue::read(answer)?;
    let members = value.as_array().unwrap_or_default().iter().step_by(2).filter_map(StoreValue::as_bytes);
    // What cannot be read is no node of this or the next version.
    Ok(members.filter_map(|member| serde_json::from_slice(member).ok()).collect())
}
