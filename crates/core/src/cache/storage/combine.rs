//! How parts become one (RFC 9111 section 3.4).

use std::sync::Arc;

use pylae_http::encode::FieldSource;
use pylae_http::message::connection::ConnectionOptions;
use pylae_http::{Edits, Name};

use crate::cache::condition::strongly_equal;
use crate::cache::storage::entry::{Entry, Variants};
use crate::cache::storage::head::{NOT_COMBINED, encoded, updates};
use crate::cache::storage::part::Part;

/// `entry`, a part that has just come, with what the parts that are stored beside it have more of the same
/// representation, in at most `most` bytes; and the whole once nothing is missing. `None`: there is no use in keeping
/// it, for a whole is there.
pub(crate) fn joined(entry: Entry, variants: Option<&Variants>, most: usize) -> Option<Entry> {
    let beside: Vec<&Arc<Entry>> =
        variants.iter().flat_map(|variants| &variants.0).filter(|other| other.selecting == entry.selecting).collect();
    if beside.iter().any(|other| other.part.is_none() && other.fresh_for(entry.received).is_some()) {
        return None;
    }
    let mut entry = entry;
    // Each may close a gap to the next.
    while let Some(wider) = beside.iter().find_map(|other| wider(&entry, other, most)) {
        entry = wider;
    }
    let whole =
        entry.part.as_ref().is_some_and(|part| part.is_sound(&entry.body) && part.whole == Some(entry.body.len()));
    if whole { combined(&entry, None) } else { Some(entry) }
}

/// `new` and `old` as one, if `old` has more bytes of the same representation, and these follow on those of `new`
/// (section 3.4: only with the same strong validator).
fn wider(new: &Entry, old: &Entry, most: usize) -> Option<Entry> {
    let (part, more) = (new.part.as_ref()?, old.part.as_ref()?);
    let same = strongly_equal(new.field(Name::Etag)?, old.field(Name::Etag)?);
    let sound = part.is_sound(&new.body) && more.is_sound(&old.body);
    let whole = match (part.whole, more.whole) {
        (Some(one), Some(other)) if one != other => return None,
        (one, other) => one.or(other),
    };
    let (held, beside) = (part.first..part.last + 1, more.first..more.last + 1);
    let adjoins = held.start <= beside.end && beside.start <= held.end;
    let (first, end) = (held.start.min(beside.start), held.end.max(beside.end));
    let grows = end - first > new.body.len();
    if !(same && sound && adjoins && grows) || end - first > most {
        return None;
    }
    let mut body = vec![0; end - first];
    body[beside.start - first..beside.end - first].copy_from_slice(&old.body);
    body[held.start - first..held.end - first].copy_from_slice(&new.body);
    let part = Part { first, last: end - 1, whole, asked: None };
    let entry = combined(new, Some(old))?;
    Some(Entry { body: body.into(), part: Some(Box::new(part)), ..entry })
}

/// `new`, a part, with the fields that only `old`, an earlier one, has; without an earlier one as the whole that it has
/// become (section 3.4).
fn combined(new: &Entry, old: Option<&Entry>) -> Option<Entry> {
    let options = ConnectionOptions::default();
    let (base, edits) = match old {
        Some(old) => (old, updates(&new.head.fields, &new.bytes, &options, NOT_COMBINED)),
        None => (new, Edits::default()),
    };
    // Where a part lies is said anew each time.
    let source = FieldSource {
        fields: &base.head.fields,
        buf: &base.bytes,
        options: &options,
        drop: NOT_COMBINED,
        edits: &edits,
    };
    let (bytes, head) = encoded(if old.is_some() { 206 } else { 200 }, source)?;
    let tags = Arc::clone(old.filter(|_| new.tags.is_empty()).map_or(&new.tags, |old| &old.tags));
    // An address that only the earlier one gives is one that its request was answered with.
    let asked = new.asked.clone().or_else(|| old.and_then(|old| old.asked.clone()));
    Some(Entry { bytes, head, part: None, tags, asked, ..new.clone() })
}
