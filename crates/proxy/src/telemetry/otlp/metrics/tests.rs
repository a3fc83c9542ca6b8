use super::super::reader::{WireField, bytes_of, fields, number_of};
use super::points::{Point, families};
use super::*;

const PAGE: &str = r#"# HELP pylae_requests_total Exchanges that are over.
# TYPE pylae_requests_total counter
pylae_requests_total{route="a {\"b\"}",service="c\\d\n=\"e"} 3
pylae_requests_total{route="x",service=""} 18446744073709551615
# HELP pylae_none Nothing.
# TYPE pylae_none gauge
# HELP pylae_cache_bytes Bytes.
# TYPE pylae_cache_bytes gauge
pylae_cache_bytes 1.5
# HELP pylae_wait_seconds Time.
# TYPE pylae_wait_seconds histogram
pylae_wait_seconds_bucket{route="r",le="0.1"} 2
pylae_wait_seconds_bucket{route="r",le="1"} 5
pylae_wait_seconds_bucket{route="r",le="+Inf"} 6
pylae_wait_seconds_sum{route="r"} 4.25
pylae_wait_seconds_count{route="r"} 6
pylae_wait_seconds_bucket{route="s",le="0.1"} 0
pylae_wait_seconds_bucket{route="s",le="1"} 0
pylae_wait_seconds_bucket{route="s",le="+Inf"} 1
pylae_wait_seconds_sum{route="s"} 7
pylae_wait_seconds_count{route="s"} 1
"#;

fn page(text: &str) -> MetricsPage {
    MetricsPage { text: text.to_owned(), started: Duration::from_secs(5), now: Duration::from_secs(9) }
}

#[test]
fn the_page_is_read_with_its_escapes() {
    let found = families(PAGE);
    assert_eq!(
        found.iter().map(|family| family.name).collect::<Vec<_>>(),
        ["pylae_requests_total", "pylae_cache_bytes", "pylae_wait_seconds"]
    );
    let labels = &found[0].points[0].labels;
    assert_eq!(labels[..], [("route", "a {\"b\"}".into()), ("service", "c\\d\n=\"e".into())]);
    assert_eq!(found[1].points, [Point { value: 1.5, ..Point::default() }]);
    let waits = &found[2].points;
    assert_eq!(waits.len(), 2);
    assert_eq!(waits[0].buckets, [(0.1, 2), (1.0, 5), (f64::INFINITY, 6)]);
    assert_eq!((waits[0].value, waits[0].count), (4.25, 6));
}

#[test]
fn counters_are_cumulative_sums_and_gauges_are_gauges() {
    let requests = encode(&page(PAGE));
    assert_eq!(requests.iter().map(|request| request.points).collect::<Vec<_>>(), [5]);
    let metrics: Vec<_> = fields(&requests[0].bytes)
        .into_iter()
        .map(|(number, field)| {
            let WireField::Bytes(metric) = field else { panic!("a metric") };
            assert_eq!(number, 2);
            fields(metric)
        })
        .collect();
    let sum = fields(bytes_of(&metrics[0], 7).unwrap());
    assert_eq!((number_of(&sum, 2), number_of(&sum, 3)), (Some(CUMULATIVE), Some(1)));
    let point = fields(bytes_of(&sum, 1).unwrap());
    assert_eq!(number_of(&point, 2), Some(5_000_000_000));
    assert_eq!(number_of(&point, 3), Some(9_000_000_000));
    assert_eq!(number_of(&point, 4), Some(3.0_f64.to_bits()));
    assert_eq!(bytes_of(&metrics[0], 3), None);
    assert_eq!(bytes_of(&metrics[1], 3), Some(&b"By"[..]));
    assert!(bytes_of(&metrics[1], 5).is_some());
}

#[test]
fn buckets_of_histograms_count_for_themselves() {
    let requests = encode(&page(PAGE));
    let metrics = fields(&requests[0].bytes);
    let (_, WireField::Bytes(last)) = metrics[2] else { panic!("a metric") };
    let metric = fields(last);
    assert_eq!(bytes_of(&metric, 3), Some(&b"s"[..]));
    let histogram = fields(bytes_of(&metric, 9).unwrap());
    let point = fields(bytes_of(&histogram, 1).unwrap());
    assert_eq!((number_of(&point, 4), number_of(&point, 5)), (Some(6), Some(4.25_f64.to_bits())));
    let words = |bytes: &[u8]| -> Vec<u64> {
        bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
    };
    assert_eq!(words(bytes_of(&point, 6).unwrap()), [2, 3, 1]);
    assert_eq!(words(bytes_of(&point, 7).unwrap()), [0.1_f64.to_bits(), 1.0_f64.to_bits()]);
}

#[test]
fn open_metrics_are_the_same_with_exemplars() {
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let text = format!(
        "# HELP a A.\n# TYPE a counter\na_total{{b=\"c\"}} 7\n# HELP w_seconds W.\n# TYPE w_seconds histogram\n\
         w_seconds_bucket{{le=\"1.0\"}} 1 # {{trace_id=\"{trace}\",span_id=\"b7ad6b7169203331\"}} 0.25 1.5\n\
         w_seconds_bucket{{le=\"+Inf\"}} 1\nw_seconds_sum 0.25\nw_seconds_count 1\n"
    );
    let found = families(&text);
    assert_eq!((found[0].name, found[0].points[0].value), ("a_total", 7.0));
    let [exemplar] = found[1].points[0].exemplars[..] else { panic!("one exemplar") };
    assert_eq!(format!("{:032x}", exemplar.trace_id), trace);
    assert_eq!((exemplar.value, exemplar.time), (0.25, 1.5));
    let requests = encode(&page(&text));
    let (_, WireField::Bytes(last)) = fields(&requests[0].bytes)[1] else { panic!("a metric") };
    let point = fields(bytes_of(&fields(bytes_of(&fields(last), 9).unwrap()), 1).unwrap());
    let written = fields(bytes_of(&point, 8).unwrap());
    assert_eq!(number_of(&written, 2), Some(1_500_000_000));
    assert_eq!(bytes_of(&written, 4), Some(&0xb7ad_6b71_6920_3331_u64.to_be_bytes()[..]));
    assert_eq!(bytes_of(&written, 5).map(<[u8]>::len), Some(16));
}

#[test]
fn large_families_are_split() {
    let lines = (0..50_000).map(|number| format!("a{{route=\"{number}\"}} 1\n"));
    let text: String = std::iter::once("# HELP a A.\n# TYPE a counter\n".to_owned()).chain(lines).collect();
    let requests = encode(&page(&text));
    assert!(requests.len() > 1);
    assert_eq!(requests.iter().map(|request| request.points).sum::<u64>(), 50_000);
    assert!(requests.iter().all(|request| request.bytes.len() < 2 * ENOUGH));
}
