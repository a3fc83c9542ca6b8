//! Calls of the scripts of the stream, and their answers.

use pylae_core::cluster::{
    CacheChange, LivePage, MAX_REVOCATIONS, Publication, Published, Query, Revocation, StreamHead, scripts,
};

use crate::store::{Script, ScriptArg, ScriptCall, StoreValue};

static HEAD: Script = Script::new("stream head", scripts::HEAD);
static PAGE: Script = Script::new("stream page", scripts::PAGE);
static PUBLISH: Script = Script::new("stream publish", scripts::PUBLISH);

/// What the store has answered to a query.
pub(super) enum FeedAnswer {
    /// The newest entry, and the store's time in milliseconds since the Unix epoch.
    Head(StreamHead, u64),
    Page(LivePage),
    Published(Published),
}

/// Returns the call that asks `query` of the stream `key`. `another` is a name for another epoch.
pub(super) fn call(query: &Query, key: Vec<u8>, another: String, origin: &[u8]) -> ScriptCall {
    let mut args = vec![ScriptArg::Bytes(another.into_bytes())];
    let script = match query {
        Query::Head { void } => {
            args.push(ScriptArg::Bytes(void.as_deref().unwrap_or_default().to_vec()));
            &HEAD
        }
        Query::Page { rank, most, .. } => {
            args.extend([integer(*rank), integer(*most)]);
            &PAGE
        }
        Query::Publish(publication) => {
            args.push(ScriptArg::Bytes(origin.to_vec()));
            add_publication(&mut args, publication);
            &PUBLISH
        }
    };
    ScriptCall { script, key, args }
}

fn add_publication(args: &mut Vec<ScriptArg>, publication: &Publication) {
    let Publication { changes, fresh, again } = publication;
    args.extend([MAX_REVOCATIONS, changes.len(), fresh.len(), again.len()].map(integer));
    for (name, value) in changes.iter().map(CacheChange::field) {
        args.extend([name.as_bytes().to_vec().into(), value.into()]);
    }
    for revocation in fresh {
        let name = revocation.name.text().into_bytes();
        args.extend([name.into(), number(revocation.age), number(revocation.left)]);
    }
    for revocation in again {
        args.extend([revocation.member().into_bytes().into(), number(revocation.until)]);
    }
}

/// Reads the answer to `query`. Returns None if it is none.
pub(super) fn read(query: &Query, answer: &StoreValue) -> Option<FeedAnswer> {
    let answer = answer.as_array()?;
    Some(match query {
        Query::Head { .. } => {
            let [time, head @ ..] = answer else { return None };
            FeedAnswer::Head(read_head(head)?, u64::try_from(time.as_integer()?).ok()?)
        }
        Query::Page { .. } => {
            let members = answer.get(3)?.as_array()?;
            // The epoch, which never ends, is no revocation.
            let ending = members.chunks_exact(2).filter(|pair| text(&pair[1]) != Some("inf"));
            let read: Vec<Option<Revocation>> =
                ending.map(|pair| Revocation::read(pair[0].as_bytes()?, text(&pair[1])?.parse().ok()?)).collect();
            let strange = read.iter().filter(|revocation| revocation.is_none()).count();
            let revocations = read.into_iter().flatten().collect();
            FeedAnswer::Page(LivePage { head: read_head(answer)?, members: members.len() / 2, revocations, strange })
        }
        Query::Publish(_) => {
            let made = answer.get(3)?.as_array()?;
            let made = made.iter().map(|one| {
                let (member, until) = text(one)?.split_once(' ')?;
                Revocation::read(member.as_bytes(), until.parse().ok()?)
            });
            FeedAnswer::Published(Published { head: read_head(answer)?, made: made.collect() })
        }
    })
}

/// Reads epoch, number and place.
fn read_head(answer: &[StoreValue]) -> Option<StreamHead> {
    let [epoch, number, id, ..] = answer else { return None };
    let number = u64::try_from(number.as_integer()?).ok()?;
    Some(StreamHead { epoch: epoch.as_bytes()?.into(), number, id: text(id)?.parse().ok()? })
}

fn text(value: &StoreValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()?).ok()
}

fn integer(number: usize) -> ScriptArg {
    ScriptArg::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn number(number: u64) -> ScriptArg {
    ScriptArg::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}
