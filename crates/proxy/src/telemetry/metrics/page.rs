//! A writer of the Prometheus text format 0.0.4, and of `OpenMetrics` 1.0, which has exemplars.

pub(crate) mod bounds;

use std::fmt::{Display, Write};
use std::time::Duration;

use self::bounds::{BOUNDS, CANONICAL};
use super::histogram::Durations;
use super::series::exemplar::{BucketExemplars, Exemplar};

pub(super) const COUNTER: &str = "counter";
pub(super) const GAUGE: &str = "gauge";
pub(super) const HISTOGRAM: &str = "histogram";

#[derive(Default)]
pub(super) struct Page {
    pub(super) text: String,
    /// Whether it is written in `OpenMetrics`.
    pub(super) open: bool,
}

impl Page {
    /// Writes the header of a family.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // There, the name of a counter's family is without the suffix.
        let name = if self.open && kind == COUNTER { name.trim_end_matches("_total") } else { name };
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        let mut before = '{';
        for (label, text) in labels {
            self.text.push(before);
            self.text.push_str(label);
            self.text.push_str("=\"");
            escape(text, &mut self.text);
            self.text.push('"');
            before = ',';
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    /// Writes a family with one sample.
    pub(super) fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// Writes a family with one sample, or none if there is no value.
    pub(super) fn optional(&mut self, name: &str, kind: &str, help: &str, value: Option<f64>) {
        self.family(name, kind, help);
        if let Some(value) = value {
            self.sample(name, &[], value);
        }
    }

    pub(super) fn histogram(&mut self, name: &str, labels: &[(&str, &str)], durations: &Durations) {
        self.histogram_with(name, labels, durations, None);
    }

    /// Writes a histogram, in `OpenMetrics` with its exemplars.
    pub(super) fn histogram_with(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        durations: &Durations,
        exemplars: Option<&BucketExemplars>,
    ) {
        let mut line = Self::default();
        line.sample(&format!("{name}_bucket"), labels, "");
        let before = if labels.is_empty() { "{le=\"" } else { ",le=\"" };
        // Cut the closing bracket, the blank and the newline.
        let start = line.text.trim_end_matches(['}', ' ', '\n']);
        let (counts, count) = (durations.up_to(BOUNDS.map(|(nanos, _)| nanos)), durations.count());
        // Most of the page is written here, so avoid the cost of `format!`.
        let mut digits = itoa::Buffer::new();
        for (index, ((_, bound), count)) in BOUNDS.iter().zip(counts).chain([(&(0, "+Inf"), count)]).enumerate() {
            for piece in [start, before, self.spelled(bound), "\"} ", digits.format(count)] {
                self.text.push_str(piece);
            }
            if let Some(exemplar) = exemplars.and_then(|exemplars| exemplars[index]).filter(|_| self.open) {
                self.exemplar(&exemplar);
            }
            self.text.push('\n');
        }
        self.sample(&format!("{name}_sum"), labels, durations.sum());
        self.sample(&format!("{name}_count"), labels, count);
    }

    fn spelled(&self, bound: &'static str) -> &'static str {
        let canonical = CANONICAL.iter().filter(|_| self.open).find(|(known, _)| *known == bound);
        canonical.map_or(bound, |(_, canonical)| canonical)
    }

    fn exemplar(&mut self, exemplar: &Exemplar) {
        let Exemplar { trace_id, span_id, nanos, ended } = exemplar;
        let (value, ended) = (Duration::from_nanos(*nanos).as_secs_f64(), ended.as_secs_f64());
        // Writing to a string cannot fail.
        let _ = write!(self.text, " # {{trace_id=\"{trace_id:032x}\",span_id=\"{span_id:016x}\"}} {value} {ended:.3}");
    }
}

/// Escapes a label value.
fn escape(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '"', '\n']) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        out.push_str(match special.as_bytes()[0] {
            b'\n' => "\\n",
            b'"' => "\\\"",
            _ => "\\\\",
        });
        rest = &special[1..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests;
