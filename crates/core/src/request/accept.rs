//! The formats that a client accepts (RFC 9110 section 12.5.1).

/// How much a client wants each format in which the gateway can say something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// `application/json` or `application/problem+json`.
    pub(crate) json: Want,
    /// `text/html`.
    pub(crate) html: Want,
    /// `text/plain`.
    pub(crate) text: Want,
}

/// How much a client wants a format, by the most precise range that the format is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Want {
    /// In thousandths; a format of weight 0 is not accepted.
    pub(crate) weight: u16,
    /// How precise the range is. Of two formats with one weight, the client wants that which it names.
    precision: Precision,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Precision {
    #[default]
    None,
    Any,
    Kind,
    Named,
}

impl Wanted {
    /// Reads the lines of Accept; without any, everything is accepted. A range with a malformed weight does not count.
    pub(crate) fn read<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let anything = Want { weight: 1000, precision: Precision::Any };
        let mut wanted = Self { json: anything, html: anything, text: anything };
        for (index, line) in lines.enumerate() {
            if index == 0 {
                wanted = Self { json: Want::default(), html: Want::default(), text: Want::default() };
            }
            line.split(|byte| *byte == b',').for_each(|range| wanted.add(range));
        }
        wanted
    }

    fn add(&mut self, range: &[u8]) {
        let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let stated = parts.find(|part| matches!(part.first_chunk(), Some(b"q=" | b"Q=")));
        let Some(weight) = stated.map_or(Some(1000), |part| weight_of(&part[2..])) else { return };
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        let (json, html, text) = (&mut self.json, &mut self.html, &mut self.text);
        if is("*/*") {
            for want in [json, html, text] {
                want.add(weight, Precision::Any);
            }
        } else if is("application/*") {
            json.add(weight, Precision::Kind);
        } else if is("text/*") {
            for want in [html, text] {
                want.add(weight, Precision::Kind);
            }
        } else if is("application/json") || is("application/problem+json") {
            json.add(weight, Precision::Named);
        } else if is("text/html") {
            html.add(weight, Precision::Named);
        } else if is("text/plain") {
            text.add(weight, Precision::Named);
        }
    }
}

impl Want {
    fn add(&mut self, weight: u16, precision: Precision) {
        if precision > self.precision || (precision == self.precision && weight > self.weight) {
            *self = Self { weight, precision };
        }
    }
}

/// Parses a weight such as `0.8`, in thousandths.
pub(crate) fn weight_of(digits: &[u8]) -> Option<u16> {
    let (whole, fraction) = match digits {
        [whole, b'.', fraction @ ..] => (whole, fraction),
        [whole] => (whole, &[][..]),
        _ => return None,
    };
    if !matches!(whole, b'0' | b'1') || fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let thousandths =
        [100, 10, 1].iter().zip(fraction).map(|(place, digit)| place * u16::from(digit - b'0')).sum::<u16>();
    Some(u16::from(whole - b'0') * 1000 + thousandths).filter(|weight| *weight <= 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(lines: &[&str]) -> (u16, u16, u16) {
        let Wanted { json, html, text } = Wanted::read(lines.iter().map(|line| line.as_bytes()));
        (json.weight, html.weight, text.weight)
    }

    #[test]
    fn weights_by_the_most_precise_range() {
        assert_eq!(weights(&[]), (1000, 1000, 1000));
        assert_eq!(weights(&[""]), (0, 0, 0));
        assert_eq!(weights(&["*/*"]), (1000, 1000, 1000));
        assert_eq!(weights(&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"]), (800, 1000, 800));
        assert_eq!(weights(&["application/json", "text/*;q=0.1"]), (1000, 100, 100));
        assert_eq!(weights(&["*/*;q=0.5, text/html;q=0"]), (500, 0, 500));
        assert_eq!(weights(&["text/html;q=0, */*;q=0.5"]), (500, 0, 500));
        assert_eq!(weights(&["application/problem+json;q=0.3, application/json;q=0.7"]), (700, 0, 0));
        assert_eq!(weights(&["TEXT/HTML ; level=1 ; Q=0.25"]), (0, 250, 0));
        assert_eq!(weights(&["text/html;q=2, text/html;q=x, application/json;q="]), (0, 0, 0));
        assert_eq!(weights(&["image/*, text, /, ;;, *, text/htm"]), (0, 0, 0));
    }

    #[test]
    fn what_is_named_is_wanted_more() {
        let wanted = Wanted::read([&b"*/*, text/html"[..]].into_iter());
        assert!(wanted.html > wanted.json && wanted.json == wanted.text);
        let wanted = Wanted::read([&b"application/json, text/html"[..]].into_iter());
        assert!(wanted.html == wanted.json);
    }
}
