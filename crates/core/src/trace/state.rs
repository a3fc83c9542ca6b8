//! The `tracestate` field of W3C Trace Context level 2, section 3.3. The gateway has no member of its own: a valid list
//! goes on as it came, an invalid one not at all.

/// Most members of a list over all lines (section 3.3.1.3).
const MAX_MEMBERS: usize = 32;
/// Longest key, and longest value, in bytes.
const MAX_PART: usize = 256;

/// Whether the lines are a valid list with any member: no more than 32, each with a key of its own.
pub(super) fn is_valid<'a>(lines: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut keys = [&b""[..]; MAX_MEMBERS];
    let mut count = 0;
    for member in lines.flat_map(|line| line.split(|byte| *byte == b',')) {
        let member = trim(member);
        if member.is_empty() {
            continue;
        }
        let Some(key) = key_of(member) else { return false };
        if count == MAX_MEMBERS || keys[..count].contains(&key) {
            return false;
        }
        keys[count] = key;
        count += 1;
    }
    count > 0
}

/// The key of a valid member (sections 3.3.1.3.1 and 3.3.1.3.2). That of several tenants has an `@`.
fn key_of(member: &[u8]) -> Option<&[u8]> {
    let (key, value) = member.split_at(member.iter().position(|byte| *byte == b'=')?);
    let value = &value[1..];
    let begins = matches!(key.first()?, b'a'..=b'z' | b'0'..=b'9');
    let in_key = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let in_value = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'=';
    let valid = begins
        && key.len() <= MAX_PART
        && key.iter().all(in_key)
        && (1..=MAX_PART).contains(&value.len())
        && value.iter().all(in_value);
    valid.then_some(key)
}

/// Removes optional whitespace: spaces and tabs.
fn trim(mut member: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = member {
        member = rest;
    }
    member
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn valid(lines: &[&str]) -> bool {
        is_valid(lines.iter().map(|line| line.as_bytes()))
    }

    fn members(range: std::ops::Range<usize>) -> String {
        range.map(|number| format!("k{number}={number}")).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn lists_over_several_lines_with_space_and_empty_members() {
        let long = format!("{}={}", "k".repeat(256), "v".repeat(256));
        for lines in [
            &["foo=1,bar=2"][..],
            &["foo=1", "bar=2", "", "baz=3"],
            &["foo=1 \t , \t bar=2, \t baz=3", " ", ","],
            &["\t foo=1 \t"],
            &["foo= leading space"],
            &["0digit=1", "tenant@system=2", "a_-*/@0=3"],
            &[r##"foo= !"#$%&'()*+-./0123456789:;<>?@AZ[\]^_`az{|}~"##],
            &[&long],
            &[&members(0..32)],
            &[&members(0..16), ",,", &members(16..32)],
        ] {
            assert!(valid(lines), "{lines:?}");
        }
    }

    #[test]
    fn lists_that_are_dropped() {
        let (key, value) = (format!("{}=1", "k".repeat(257)), format!("k={}", "v".repeat(257)));
        for lines in [
            &[][..],
            &[""],
            &[" ,\t,"],
            &["foo"],
            &["=1"],
            &["foo="],
            &["foo= "],
            &["foo =1"],
            &["FOO=1"],
            &["foo.bar=1"],
            &["@foo=1"],
            &["_foo=1"],
            &["foo=bar=baz"],
            &["foo=a\tb"],
            &["foo=\u{e9}"],
            &["foo=1,foo=1"],
            &["foo=1", "foo=2"],
            &["foo=1", "foo=,bar=3"],
            &[&key],
            &[&value],
            &[&members(0..33)],
            &[&members(0..16), &members(16..33)],
        ] {
            assert!(!valid(lines), "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn any_split_over_lines_is_the_same_list(cuts in proptest::collection::vec(1..40_usize, 0..5), count in 1..40_usize) {
            let all: Vec<String> = (0..count).map(|number| format!("k{number}=v")).collect();
            let mut lines = vec![];
            let mut rest = &all[..];
            for cut in cuts {
                let (line, after) = rest.split_at(cut.min(rest.len()));
                lines.push(line.join(","));
                rest = after;
            }
            lines.push(rest.join(", "));
            prop_assert_eq!(is_valid(lines.iter().map(String::as_bytes)), count <= 32);
        }

        #[test]
        fn no_bytes_do_any_harm(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            is_valid([&line[..]].into_iter());
        }
    }
}
