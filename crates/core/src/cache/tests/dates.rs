//! Dates, whatever their form and case.

use std::time::{Duration, SystemTime};

use crate::cache::freshness::date::parse_date;

/// Seconds since the epoch.
fn read(date: &str) -> Option<u64> {
    parse_date(date.as_bytes()).map(|parse_date| parse_date.as_secs())
}

#[test]
fn s4_2_dates_are_read_in_three_forms_without_case() {
    let then = Some(784_111_777);
    for date in [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "SUN, 06 nov 1994 08:49:37 gmt",
        " Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "sunday, 06-NOV-94 08:49:37 Gmt",
        "Sun Nov  6 08:49:37 1994",
        "Sun Nov 06 08:49:37 1994",
        // A wrong day of the week does not matter.
        "Mon, 06 Nov 1994 08:49:37 GMT",
    ] {
        assert_eq!(read(date), then, "{date}");
    }
    assert_eq!(read("Wednesday, 01-Jan-20 00:00:00 GMT"), Some(1_577_836_800));
    assert_eq!(read("Sat, 31 Dec 2016 23:59:60 GMT"), Some(1_483_228_800));
    assert_eq!(read("Sat, 20 Nov 2286 17:46:40 GMT"), Some(10_000_000_000));
    assert_eq!(read("Wed, 31 Dec 1969 23:59:59 GMT"), Some(0));
}

#[test]
fn what_is_no_date_is_none() {
    for date in [
        "",
        "0",
        "-1",
        ",",
        "Sun",
        "Sun,",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 AEST",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun 06 Nov 1994 08:49:37 GMT",
        "Sun, 06  Nov  1994 08:49:37 GMT",
        "Sun, 06-Nov-1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08.49.37 GMT",
        "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Tue, 29 Feb 1994 08:49:37 GMT",
        "Thu, 29 Feb 1900 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Now 1994 08:49:37 GMT",
        "Xxx, 06 Nov 1994 08:49:37 GMT",
        "Sun, -6 Nov 1994 08:49:37 GMT",
        "Someday, 06-Nov-94 08:49:37 GMT",
        "Sunday, 06 Nov 94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 94",
        "Sun Nov 6 08:49:37 1994",
        "\u{dc}un, 06 Nov 1994 08:49:37 GMT",
    ] {
        assert_eq!(read(date), None, "{date}");
    }
}

#[test]
fn what_is_written_is_read() {
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..20_000 {
        let seconds = random.u64(0..253_402_300_800);
        let written = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(read(&written), Some(seconds), "{written}");
    }
}

#[test]
fn no_bytes_are_too_odd() {
    let mut random = fastrand::Rng::with_seed(6);
    let letters = b"SunNovGMT ,-:0123456789\xff";
    for _ in 0..100_000 {
        let mut bytes = *b"Sun, 06 Nov 1994 08:49:37 GMT";
        for _ in 0..random.usize(..4) {
            bytes[random.usize(..29)] = letters[random.usize(..letters.len())];
        }
        parse_date(&bytes[random.usize(..5)..random.usize(20..=29)]);
    }
}
