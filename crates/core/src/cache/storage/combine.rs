//! Combines partial responses (RFC 9111 section 3.4).

use std::sync::Arc;

use pylae_http::encode::FieldSource;
use pylae_http::message::connection::ConnectionOptions;
use pylae_http::{Edits, Name};

use crate::cache::condition::strongly_equal;
use crate::cache::storage::entry::{Entry, Variants};
use crate::cache::storage::head::{NOT_COMBINED, encode_head, updates};
use crate::cache::storage::part::Part;

/// Extends the new part `entry` by the stored parts of the same representation, up to `most` bytes; it becomes a full
/// response once nothing is missing. Returns None if it need not be stored because a full response is.
pub(crate) fn combine_parts(entry: Entry, variants: Option<&Variants>, most: usize) -> Option<Entry> {
    let beside: Vec<&Arc<Entry>> =
        variants.iter().flat_map(|variants| &variants.0).filter(|other| other.selecting == entry.selecting).collect();
    if beside.iter().any(|other| other.part.is_none() && other.fresh_for(entry.received).is_some()) {
        return None;
    }
    let mut entry = entry;
    // Each merge may close the gap to another part.
    while let Some(merge_parts) = beside.iter().find_map(|other| merge_parts(&entry, other, most)) {
        entry = merge_parts;
    }
    let whole =
        entry.part.as_ref().is_some_and(|part| part.is_sound(&entry.body) && part.whole == Some(entry.body.len()));
    if whole { merge_heads(&entry, None) } else { Some(entry) }
}

/// Merges `old` into `new` if `old` adds bytes of the same representation that adjoin those of `new` (section 3.4: only
/// with the same strong validator).
fn merge_parts(new: &Entry, old: &Entry, most: usize) -> Option<Entry> {
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
    let entry = merge_heads(new, Some(old))?;
    Some(Entry { body: body.into(), part: Some(Box::new(part)), ..entry })
}

/// Returns the partial response `new` with the fields that only `old`, an earlier part, has; or without `old`, as a
/// full response (section 3.4).
fn merge_heads(new: &Entry, old: Option<&Entry>) -> Option<Entry> {
    let options = ConnectionOptions::default();
    let (base, edits) = match old {
        Some(old) => (old, updates(&new.head.fields, &new.bytes, &options, NOT_COMBINED)),
        None => (new, Edits::default()),
    };
    // Content-Range is rewritten each time.
    let source = FieldSource {
        fields: &base.head.fields,
        buf: &base.bytes,
        options: &options,
        drop: NOT_COMBINED,
        edits: &edits,
    };
    let (bytes, head) = encode_head(if old.is_some() { 206 } else { 200 }, source)?;
    let tags = Arc::clone(old.filter(|_| new.tags.is_empty()).map_or(&new.tags, |old| &old.tags));
    // An address that only the earlier part names comes from that part's request.
    let asked = new.asked.clone().or_else(|| old.and_then(|old| old.asked.clone()));
    Some(Entry { bytes, head, part: None, tags, asked, ..new.clone() })
}
