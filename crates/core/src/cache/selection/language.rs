//! Normalises Accept-Language for comparison (RFC 9110 section 12.5.4, RFC 4647 section 2).

use crate::request::accept;

/// Normalises the value of Accept-Language: in lower case, since language tags ignore case, and if `sorted`, ordered by
/// weight and then by name, so that the order in the field does not matter.
pub(crate) fn normalize(value: &mut Vec<u8>, sorted: bool) {
    value.make_ascii_lowercase();
    if !sorted {
        return;
    }
    let mut ranges: Vec<(u16, &[u8])> = Vec::new();
    for element in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty()) {
        let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let language = parts.next().unwrap_or_default();
        let Some(weight) = parts.next().map_or(Some(1000), weight).filter(|_| parts.next().is_none()) else {
            // An invalid weight: the value stays as it is and equals only itself.
            return;
        };
        if !ranges.iter().any(|(_, other)| *other == language) {
            ranges.push((weight, language));
        }
    }
    ranges.sort_by(|(one, this), (other, that)| other.cmp(one).then(this.cmp(that)));
    let mut sorted = Vec::with_capacity(value.len());
    for (weight, language) in ranges {
        sorted.extend_from_slice(language);
        if weight < 1000 {
            sorted.push(b';');
            sorted.extend_from_slice(itoa::Buffer::new().format(weight).as_bytes());
        }
        sorted.push(b',');
    }
    *value = sorted;
}

/// Parses a weight such as `q=0.8`, in thousandths.
fn weight(parameter: &[u8]) -> Option<u16> {
    accept::weight_of(parameter.strip_prefix(b"q")?.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start())
}
