//! Reads streams, each over a connection of its own, because a read waits for entries.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};
use pylae_core::cluster::{StreamEntry, StreamId};
use redis::Value;
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use super::call::{StoreError, error_text};
use super::link::{Link, Purpose, text};
use super::links::Links;

/// How long the server waits for entries before it answers that there are none.
const BLOCK: Duration = Duration::from_secs(1);
/// Most connections that are kept for further reads.
const MAX_IDLE: usize = 4;

/// A read that another thread has asked for.
pub(super) struct ReadRequest {
    pub(super) key: Vec<u8>,
    pub(super) after: StreamId,
    pub(super) count: u32,
    pub(super) answer: oneshot::Sender<Result<Vec<StreamEntry<Vec<u8>>>, StoreError>>,
}

/// The reads in progress.
pub(super) struct Readers {
    links: Rc<Links>,
    /// Connections that do not read at the moment, by the key that they have read.
    idle: Rc<RefCell<HashMap<Vec<u8>, Rc<Link>>>>,
}

impl Readers {
    pub(super) fn new(links: Rc<Links>) -> Self {
        Self { links, idle: Rc::new(RefCell::new(HashMap::new())) }
    }

    /// Starts a read, which ends early if nobody waits for it any more.
    pub(super) fn start(&self, request: ReadRequest) {
        let (links, idle) = (Rc::clone(&self.links), Rc::clone(&self.idle));
        spawn_local(async move {
            let ReadRequest { key, after, count, mut answer } = request;
            let kept = idle.borrow_mut().remove(&key);
            let reading = async {
                let link = connect(&links, &key, kept).await?;
                let entries = read(&link, &key, after, count).await?;
                let mut idle = idle.borrow_mut();
                if idle.len() < MAX_IDLE {
                    idle.insert(key.clone(), link);
                }
                Ok(entries)
            };
            let result = tokio::select! {
                result = reading => result,
                () = answer.closed() => return,
            };
            // Nobody may wait any more.
            let _ = answer.send(result);
        });
    }
}

/// A connection to the server that has `key`: the one that was kept, if it leads there and is well.
async fn connect(links: &Rc<Links>, key: &[u8], kept: Option<Rc<Link>>) -> Result<Rc<Link>, StoreError> {
    // While calls cannot be made, streams cannot be read: it is the same server.
    let server = links.link(key).ok_or(StoreError::Unavailable)?.server.clone();
    match kept.filter(|link| link.server == server && !link.is_lost()) {
        Some(link) => Ok(link),
        None => Link::open(&links.store, &server, Purpose::Calls, || {}).await.map_err(|_| StoreError::Unavailable),
    }
}

async fn read(link: &Link, key: &[u8], after: StreamId, count: u32) -> Result<Vec<StreamEntry<Vec<u8>>>, StoreError> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("XREAD").arg("COUNT").arg(count).arg("BLOCK").arg(BLOCK.as_millis().to_string());
    pipeline.arg("STREAMS").arg(key).arg(after.to_string());
    loop {
        // Twice the time: the server may have begun to wait late.
        let answers = link.send(&pipeline, 2 * BLOCK).await.map_err(|_| StoreError::Unavailable)?;
        match answers.first() {
            Some(Value::Nil) => {}
            Some(Value::ServerError(error)) => return Err(StoreError::Refused(error_text(error))),
            Some(answer) => {
                let unreadable = || StoreError::Refused("the answer is not a stream's".to_owned());
                return entries(answer).ok_or_else(unreadable);
            }
            None => return Err(StoreError::Unavailable),
        }
    }
}

/// The entries of one stream: `[[key, [[id, [field, value, …]], …]]]`. Deleted entries have no fields.
fn entries(answer: &Value) -> Option<Vec<StreamEntry<Vec<u8>>>> {
    let [stream] = items(answer)? else { return None };
    let [_, listed] = items(stream)? else { return None };
    items(listed)?.iter().map(entry).collect()
}

fn entry(value: &Value) -> Option<StreamEntry<Vec<u8>>> {
    let [id, fields] = items(value)? else { return None };
    let fields = if matches!(fields, Value::Nil) { &[] } else { items(fields)? };
    let bytes = |value: &Value| if let Value::BulkString(bytes) = value { Some(bytes.clone()) } else { None };
    let fields = fields.chunks_exact(2).map(|pair| Some((bytes(&pair[0])?, bytes(&pair[1])?)));
    Some(StreamEntry { id: text(id)?.parse().ok()?, fields: fields.collect::<Option<_>>()? })
}

fn items(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(items) => Some(items),
        _ => None,
    }
}
