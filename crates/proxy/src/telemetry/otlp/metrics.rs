//! Metrics for OTLP, read from the page for Prometheus, which is the one list of all metrics
//! (<https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/>). Names stay as they are.

mod points;

use std::time::Duration;

use self::points::{Family, Kind, Labels};
use super::protobuf::{put_bytes, put_double, put_fixed64, put_message, put_string, put_uint};

/// Most data points of one message `Metric`: a family with more of them has several.
const MOST_POINTS: usize = 1000;
/// Bytes at which a request has enough.
const ENOUGH: usize = 1 << 20;
/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u64 = 2;

/// The page, and the times of its points since the Unix epoch.
pub(crate) struct MetricsPage {
    pub(crate) text: String,
    /// Since when counters count.
    pub(crate) started: Duration,
    pub(crate) now: Duration,
}

/// Encoded metrics for one request.
#[derive(Default)]
pub(crate) struct EncodedMetrics {
    /// Fields `metrics` of a `ScopeMetrics`.
    pub(crate) bytes: Vec<u8>,
    pub(crate) points: u64,
}

/// Encodes all metrics of a page, for as many requests as it takes.
pub(crate) fn encode(page: &MetricsPage) -> Vec<EncodedMetrics> {
    let times = [nanos(page.started), nanos(page.now)];
    let mut requests = vec![EncodedMetrics::default()];
    for family in points::families(&page.text) {
        for points in family.points.chunks(MOST_POINTS) {
            if requests.last().is_some_and(|request| request.bytes.len() >= ENOUGH) {
                requests.push(EncodedMetrics::default());
            }
            let Some(request) = requests.last_mut() else { return requests };
            request.points += points.len() as u64;
            put_message(&mut request.bytes, 2, |out| put_metric(out, &family, points, times));
        }
    }
    requests.retain(|request| request.points > 0);
    requests
}

fn put_metric(out: &mut Vec<u8>, family: &Family<'_>, points: &[points::Point<'_>], times: [u64; 2]) {
    put_string(out, 1, family.name);
    put_string(out, 2, family.help);
    if let Some(unit) = unit(family.name) {
        put_string(out, 3, unit);
    }
    match family.kind {
        Kind::Gauge => put_message(out, 5, |out| points.iter().for_each(|point| put_number(out, point, times))),
        Kind::Counter => put_message(out, 7, |out| {
            for point in points {
                put_number(out, point, times);
            }
            put_uint(out, 2, CUMULATIVE);
            put_uint(out, 3, 1);
        }),
        Kind::Histogram => put_message(out, 9, |out| {
            for point in points {
                put_histogram(out, point, times);
            }
            put_uint(out, 2, CUMULATIVE);
        }),
    }
}

/// Writes a `NumberDataPoint`.
fn put_number(out: &mut Vec<u8>, point: &points::Point<'_>, [started, now]: [u64; 2]) {
    put_message(out, 1, |out| {
        put_fixed64(out, 2, started);
        put_fixed64(out, 3, now);
        put_double(out, 4, point.value);
        put_labels(out, 7, &point.labels);
    });
}

/// Writes a `HistogramDataPoint`. Its counts are those of single buckets, the page's those up to a bound.
fn put_histogram(out: &mut Vec<u8>, point: &points::Point<'_>, [started, now]: [u64; 2]) {
    put_message(out, 1, |out| {
        put_fixed64(out, 2, started);
        put_fixed64(out, 3, now);
        put_fixed64(out, 4, point.count);
        put_double(out, 5, point.value);
        let (mut counts, mut bounds, mut before) = (Vec::new(), Vec::new(), 0);
        for (bound, up_to) in &point.buckets {
            counts.extend_from_slice(&up_to.saturating_sub(before).to_le_bytes());
            before = *up_to;
            if bound.is_finite() {
                bounds.extend_from_slice(&bound.to_bits().to_le_bytes());
            }
        }
        put_bytes(out, 6, &counts);
        put_bytes(out, 7, &bounds);
        for exemplar in &point.exemplars {
            put_message(out, 8, |out| {
                put_fixed64(out, 2, nanos(Duration::try_from_secs_f64(exemplar.time).unwrap_or_default()));
                put_double(out, 3, exemplar.value);
                put_bytes(out, 4, &exemplar.span_id.to_be_bytes());
                put_bytes(out, 5, &exemplar.trace_id.to_be_bytes());
            });
        }
        put_labels(out, 9, &point.labels);
    });
}

fn put_labels(out: &mut Vec<u8>, field: u32, labels: &Labels<'_>) {
    for (name, value) in labels {
        put_message(out, field, |out| {
            put_string(out, 1, name);
            put_message(out, 2, |out| put_string(out, 1, value));
        });
    }
}

/// The unit in the name of a metric, in UCUM.
fn unit(name: &str) -> Option<&'static str> {
    match name.trim_end_matches("_total").rsplit('_').next() {
        Some("seconds") => Some("s"),
        Some("bytes") => Some("By"),
        _ => None,
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
