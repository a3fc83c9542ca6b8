//! A writer of the Prometheus text format 0.0.4.

use std::fmt::{Display, Write};

use super::histogram::Durations;

/// Bucket bounds on the page, in nanoseconds and in seconds. Each is a bound of [`Durations`], so that counts are
/// exact.
const BOUNDS: [(u64, &str); 20] = [
    (20_000, "0.00002"),
    (50_000, "0.00005"),
    (100_000, "0.0001"),
    (200_000, "0.0002"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_000_000, "0.002"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (20_000_000, "0.02"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (200_000_000, "0.2"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1"),
    (2_000_000_000, "2"),
    (5_000_000_000, "5"),
    (10_000_000_000, "10"),
    (30_000_000_000, "30"),
    (60_000_000_000, "60"),
];

pub(super) const COUNTER: &str = "counter";
pub(super) const GAUGE: &str = "gauge";
pub(super) const HISTOGRAM: &str = "histogram";

#[derive(Default)]
pub(super) struct Page {
    pub(super) text: String,
}

impl Page {
    /// Writes the header of a family.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
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
        let mut line = Self::default();
        line.sample(&format!("{name}_bucket"), labels, "");
        let before = if labels.is_empty() { "{le=\"" } else { ",le=\"" };
        // Cut the closing bracket, the blank and the newline.
        let start = line.text.trim_end_matches(['}', ' ', '\n']);
        let (counts, count) = (durations.up_to(BOUNDS.map(|(nanos, _)| nanos)), durations.count());
        // Most of the page is written here, so avoid the cost of `format!`.
        let mut digits = itoa::Buffer::new();
        for ((_, bound), count) in BOUNDS.iter().zip(counts).chain([(&(0, "+Inf"), count)]) {
            for piece in [start, before, bound, "\"} ", digits.format(count), "\n"] {
                self.text.push_str(piece);
            }
        }
        self.sample(&format!("{name}_sum"), labels, durations.sum());
        self.sample(&format!("{name}_count"), labels, count);
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
