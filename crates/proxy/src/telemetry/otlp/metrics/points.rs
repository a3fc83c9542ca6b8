//! A reader of the gateway's own page, in the text format of Prometheus 0.0.4 or in `OpenMetrics` 1.0.

use std::borrow::Cow;

/// Names and values of labels.
pub(super) type Labels<'p> = Vec<(&'p str, Cow<'p, str>)>;

/// What the metrics of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A family with its points.
#[derive(Debug, PartialEq)]
pub(super) struct Family<'p> {
    pub(super) name: &'p str,
    pub(super) help: &'p str,
    pub(super) kind: Kind,
    pub(super) points: Vec<Point<'p>>,
}

/// The figures of one set of labels.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Point<'p> {
    pub(super) labels: Labels<'p>,
    /// The value; of a histogram, its sum.
    pub(super) value: f64,
    /// Number of values in a histogram.
    pub(super) count: u64,
    /// Upper bounds of buckets, the last of which is infinite, and how many values are up to them.
    pub(super) buckets: Vec<(f64, u64)>,
    pub(super) exemplars: Vec<PointExemplar>,
}

/// A value that a histogram has counted, and the span that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PointExemplar {
    pub(super) trace_id: u128,
    pub(super) span_id: u64,
    pub(super) value: f64,
    /// Seconds since the Unix epoch.
    pub(super) time: f64,
}

/// The families of a page that have points. Lines that are none of the gateway's are passed over.
pub(super) fn families(page: &str) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    let mut help = "";
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let kind = match kind {
                "counter" => Kind::Counter,
                "histogram" => Kind::Histogram,
                _ => Kind::Gauge,
            };
            families.push(Family { name, help, kind, points: Vec::new() });
        } else if let (Some(family), Some((name, labels, value))) = (families.last_mut(), sample(line)) {
            family.add(name, labels, value);
        }
    }
    families.retain(|family| !family.points.is_empty());
    families
}

impl<'p> Family<'p> {
    fn add(&mut self, name: &'p str, mut labels: Labels<'p>, rest: &str) {
        let (value, exemplar) = rest.split_once(" # ").map_or((rest, None), |(value, rest)| (value, exemplar(rest)));
        let Ok(number) = value.parse::<f64>() else { return };
        if self.kind != Kind::Histogram {
            // In `OpenMetrics` the name of a counter's family lacks the suffix.
            self.name = name;
            self.points.push(Point { labels, value: number, ..Point::default() });
            return;
        }
        let (part, whole) = (name.strip_prefix(self.name).unwrap_or_default(), value.parse().unwrap_or(0));
        let bound = labels.pop_if(|(name, _)| part == "_bucket" && *name == "le");
        // The lines of a histogram follow each other.
        if self.points.last().is_none_or(|point| point.labels != labels) {
            self.points.push(Point { labels, ..Point::default() });
        }
        let Some(point) = self.points.last_mut() else { return };
        point.exemplars.extend(exemplar);
        match (part, bound) {
            ("_sum", _) => point.value = number,
            ("_count", _) => point.count = whole,
            (_, Some((_, bound))) => point.buckets.push((bound.parse().unwrap_or(f64::INFINITY), whole)),
            _ => {}
        }
    }
}

/// Reads the labels, value and time of an exemplar.
fn exemplar(text: &str) -> Option<PointExemplar> {
    let (_, labels, rest) = sample(text)?;
    let (value, time) = rest.split_once(' ')?;
    let of = |wanted: &str| labels.iter().find(|(name, _)| *name == wanted).map(|(_, value)| &**value);
    Some(PointExemplar {
        trace_id: u128::from_str_radix(of("trace_id")?, 16).ok()?,
        span_id: u64::from_str_radix(of("span_id")?, 16).ok()?,
        value: value.parse().ok()?,
        time: time.parse().ok()?,
    })
}

/// Name, labels and value of a sample, the exemplar included.
fn sample(line: &str) -> Option<(&str, Labels<'_>, &str)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while let Some((name, after)) = rest.split_once("=\"") {
            let end = end_of_text(after)?;
            labels.push((name.trim_start_matches(','), plain(&after[..end])));
            rest = &after[end + 1..];
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
        }
    }
    Some((name, labels, rest.trim()))
}

/// Where the quotation mark is that ends a text.
fn end_of_text(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })
}

/// The value of a label without its escapes.
fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text.into();
    }
    let (mut out, mut letters) = (String::with_capacity(text.len()), text.chars());
    while let Some(letter) = letters.next() {
        match (letter, if letter == '\\' { letters.next() } else { None }) {
            (_, Some('n')) => out.push('\n'),
            (_, Some(escaped)) => out.push(escaped),
            (letter, None) => out.push(letter),
        }
    }
    out.into()
}
