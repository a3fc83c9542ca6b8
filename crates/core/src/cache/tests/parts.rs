//! Partial content: what is stored of it, what it answers, and how parts are combined (RFC 9111 sections 3.3 and 3.4).

use super::*;
use crate::cache::storage::entry::MOST_PARTS;
use crate::cache::{Purge, range};

const WHOLE: &str = "0123456789";

/// Asks for the bytes of `WHOLE` from `first` to `last`; the origin answers with these fields.
fn part(world: &World, first: usize, last: usize, fields: &str) {
    let stated = format!("206\nContent-Range: bytes {first}-{last}/10\n{fields}");
    world.fetch(&format!("GET /\nRange: bytes={first}-{last}"), &stated, &WHOLE[first..=last]);
}

/// Returns the response to a range request: the body and its position.
fn given(world: &World, range: &str) -> Option<(String, String)> {
    let mut exchange = world.exchange(&format!("GET /\nRange: {range}"));
    let Verdict::Stored(stored) = world.lookup(&mut exchange) else { return None };
    assert_eq!(exchange.response.status, 206);
    let body = String::from_utf8_lossy(&stored.entry.body[stored.part.clone()]).into_owned();
    let place = edit(&exchange, "Content-Range").unwrap_or_else(|| fields(&exchange, "content-range").concat());
    Some((body, place))
}

fn bytes(body: &str, place: &str) -> (String, String) {
    (body.to_owned(), place.to_owned())
}

#[test]
fn s3_3_a_part_answers_what_lies_within_it_and_nothing_else() {
    let world = World::new();
    part(&world, 4, 8, "Cache-Control: max-age=60\nETag: \"1\"");
    for (range, body, place) in [
        ("bytes=4-8", "45678", "bytes 4-8/10"),
        ("bytes=5-6", "56", "bytes 5-6/10"),
        ("BYTES=8-8", "8", "bytes 8-8/10"),
    ] {
        assert_eq!(given(&world, range), Some(bytes(body, place)), "{range}");
    }
    for range in ["bytes=3-8", "bytes=4-9", "bytes=4-", "bytes=-1", "bytes=4-5,6-7", "bytes=20-", "lines=4-5", ""] {
        assert_eq!(given(&world, range), None, "{range}");
    }
    assert_eq!(world.ask("GET /"), miss());
    assert_eq!(world.ask("HEAD /"), miss());
    assert_eq!(world.ask("HEAD /\nRange: bytes=5-6"), miss());
}

#[test]
fn a_part_up_to_the_end_answers_what_is_counted_from_there() {
    let world = World::new();
    part(&world, 6, 9, "Cache-Control: max-age=60");
    assert_eq!(given(&world, "bytes=-2"), Some(bytes("89", "bytes 8-9/10")));
    assert_eq!(given(&world, "bytes=7-"), Some(bytes("789", "bytes 7-9/10")));
    assert_eq!(given(&world, "bytes=7-100"), Some(bytes("789", "bytes 7-9/10")));
    assert_eq!(given(&world, "bytes=-5"), None);
}

#[test]
fn a_part_of_what_has_no_known_length() {
    let world = World::new();
    world.fetch("GET /\nRange: bytes=4-", "206\nContent-Range: bytes 4-6/*\nCache-Control: max-age=60", "456");
    // The same request has the same answer.
    assert_eq!(given(&world, "bytes=4-"), Some(bytes("456", "bytes 4-6/*")));
    assert_eq!(given(&world, "bytes=5-5"), Some(bytes("5", "bytes 5-5/*")));
    for range in ["bytes=5-", "bytes=-1", "bytes=5-7"] {
        assert_eq!(given(&world, range), None, "{range}");
    }
}

#[test]
fn conditions_on_a_part() {
    let world = World::new();
    part(&world, 4, 8, "Cache-Control: max-age=60\nETag: \"1\"");
    let asks = |fields: &str| world.ask(&format!("GET /\nRange: bytes=5-6\n{fields}"));
    let got = |status, body: &str| Got::Stored { status, body: body.into(), outcome: CacheOutcome::Hit };
    assert_eq!(asks("If-Range: \"1\""), got(206, "56"));
    assert_eq!(asks("If-None-Match: \"1\""), got(304, ""));
    assert_eq!(asks("If-None-Match: \"2\""), got(206, "56"));
    // Then the whole is requested.
    assert_eq!(asks("If-Range: \"2\""), miss());
}

#[test]
fn s3_partial_content_is_stored_only_if_it_is_the_answer_to_one_range() {
    let ok = "206\nCache-Control: max-age=60";
    for (request, answer, kept) in [
        ("Range: bytes=0-1", format!("{ok}\nContent-Range: bytes 0-1/9"), true),
        ("Range: bytes=0-1", "206\nContent-Range: bytes 0-1/9".to_owned(), true),
        ("Range: bytes=0-1", ok.to_owned(), false),
        ("Range: bytes=0-1", format!("{ok}\nContent-Range: bytes 0-1/9\nContent-Range: bytes 0-1/9"), false),
        ("Range: bytes=0-1", format!("{ok}\nContent-Range: bytes 1-0/9"), false),
        ("Range: bytes=0-1", format!("{ok}\nContent-Range: bytes 0-1/1"), false),
        ("Range: bytes=0-1", format!("{ok}\nContent-Range: lines 0-1/9"), false),
        ("Range: bytes=0-1", format!("{ok}\nContent-Range: bytes */9"), false),
        ("Range: bytes=0-1", format!("{ok}, no-store\nContent-Range: bytes 0-1/9"), false),
        ("Range: bytes=0-1", format!("{ok}, private\nContent-Range: bytes 0-1/9"), false),
        ("Range: bytes=0-1", format!("{ok}\nSet-Cookie: a=1\nContent-Range: bytes 0-1/9"), false),
        ("Range: bytes=0-1\nRange: bytes=0-1", format!("{ok}\nContent-Range: bytes 0-1/9"), false),
        ("Range: bytes=0-0,1-1", format!("{ok}\nContent-Range: bytes 0-1/9"), false),
        ("Range: bytes=0-1\nIf-Range: \"1\"", format!("{ok}\nContent-Range: bytes 0-1/9"), false),
        ("Range: bytes=0-1\nCache-Control: no-store", format!("{ok}\nContent-Range: bytes 0-1/9"), false),
        ("X-No: range", format!("{ok}\nContent-Range: bytes 0-1/9"), false),
    ] {
        let world = World::new();
        world.fetch(&format!("GET /\n{request}"), &answer, "bo");
        assert_eq!(world.cache.usage().entries, u64::from(kept), "{request} {answer}");
        assert!(!world.holds("/"));
    }
    let world = World::new();
    world.fetch(&format!("GET /\nRange: bytes={:0100}-1", 0), &format!("{ok}\nContent-Range: bytes 0-1/9"), "bo");
    assert_eq!(world.cache.usage().entries, 0);
}

#[test]
fn a_range_that_a_hook_has_changed_is_not_kept() {
    for edit in [Some(&b"bytes=4-5"[..]), None] {
        let world = World::new();
        let mut exchange = world.exchange("GET /\nRange: bytes=0-1");
        world.lookup(&mut exchange);
        match edit {
            Some(range) => exchange.request.edits.set(b"Range", range).unwrap(),
            None => exchange.request.edits.remove(b"Range"),
        }
        world.answer(&mut exchange, "206\nContent-Range: bytes 4-5/9\nCache-Control: max-age=60", "bo");
        assert_eq!(world.cache.usage().entries, 0);
    }
}

#[test]
fn s3_4_parts_with_one_strong_validator_are_combined() {
    let mut world = World::new();
    let control = "ETag: \"1\"\nCache-Control: max-age=60";
    part(&world, 0, 2, &format!("{control}\nX-Old: 1\nX-Both: 1\nContent-Type: a/b"));
    part(&world, 6, 8, control);
    assert_eq!(given(&world, "bytes=2-6"), None);
    world.at += 30;
    // Overlaps one and adjoins the other.
    part(&world, 2, 5, &format!("{control}\nX-Both: 2"));
    assert_eq!(given(&world, "bytes=0-8"), Some(bytes("012345678", "bytes 0-8/10")));
    let mut exchange = world.exchange("GET /\nRange: bytes=1-7");
    world.lookup(&mut exchange);
    // The fields of the new part, and those that only the old one has.
    assert_eq!(fields(&exchange, "x-old"), ["1"]);
    assert_eq!(fields(&exchange, "x-both"), ["2"]);
    assert_eq!(fields(&exchange, "content-type"), ["a/b"]);
    assert_eq!(edit(&exchange, "Age").as_deref(), Some("0"));
    assert_eq!(world.ask("GET /"), miss());
    world.at += 40;
    assert_eq!(given(&world, "bytes=7-7"), Some(bytes("7", "bytes 7-7/10")));
}

#[test]
fn s3_3_parts_become_the_whole_once_nothing_is_missing() {
    let mut world = World::new();
    let control = "ETag: \"1\"\nCache-Control: max-age=60";
    part(&world, 0, 5, control);
    part(&world, 6, 9, control);
    assert_eq!(world.ask("GET /"), hit(WHOLE));
    assert_eq!(world.ask("HEAD /"), hit(WHOLE));
    let mut exchange = world.exchange("GET /");
    world.lookup(&mut exchange);
    assert_eq!(fields(&exchange, "content-range"), [""; 0]);
    // From now on it is like any other.
    world.at += 100;
    assert_eq!(world.ask("GET /"), validation("\"1\""));
    assert_eq!(world.ask("GET /\nRange: bytes=0-1"), validation("\"1\""));
    // A part that is the whole needs no other.
    let world = World::new();
    part(&world, 0, 9, "Cache-Control: max-age=60");
    assert_eq!(world.ask("GET /"), hit(WHOLE));
}

#[test]
fn s3_4_parts_that_may_be_of_others_are_not_combined() {
    let fits = "206\nETag: \"1\"\nCache-Control: max-age=60\nContent-Range: bytes 5-9/10";
    for (one, other, body) in [
        ("ETag: \"1\"", fits.replace("\"1\"", "\"2\""), "56789"),
        ("ETag: W/\"1\"", fits.replace("\"1\"", "W/\"1\""), "56789"),
        ("X-None: 1", fits.replace("ETag", "X-Tag"), "56789"),
        ("ETag: \"1\"", fits.replace("/10", "/11"), "56789"),
        ("ETag: \"1\"", fits.to_owned(), "5678"),
        ("ETag: \"1\"", fits.replace("5-9", "6-9"), "6789"),
    ] {
        let world = World::new();
        part(&world, 0, 4, &format!("Cache-Control: max-age=60\n{one}"));
        world.fetch("GET /\nRange: bytes=5-", &other, body);
        assert_eq!(given(&world, "bytes=3-6"), None, "{other}");
        assert_eq!(world.ask("GET /"), miss(), "{other}");
    }
    // Other users, other languages.
    let world = World::new();
    let vary = "ETag: \"1\"\nCache-Control: max-age=60\nVary: X-A";
    part(&world, 0, 4, vary);
    let answer = format!("206\nContent-Range: bytes 5-9/10\n{vary}");
    world.fetch("GET /\nRange: bytes=5-9\nX-A: 1", &answer, "56789");
    assert_eq!(given(&world, "bytes=3-6"), None);
    assert_eq!(given(&world, "bytes=3-4"), Some(bytes("34", "bytes 3-4/10")));
}

#[test]
fn what_comes_later_takes_the_place_of_what_overlaps() {
    let world = World::new();
    part(&world, 0, 4, "Cache-Control: max-age=60\nETag: \"1\"");
    let later = "206\nETag: \"2\"\nCache-Control: max-age=60\nContent-Range: bytes 8-9/10";
    world.fetch("GET /\nRange: bytes=8-9", later, "xy");
    // By now it is of another representation.
    assert_eq!(given(&world, "bytes=0-1"), None);
    assert_eq!(given(&world, "bytes=9-9"), Some(bytes("y", "bytes 9-9/10")));
    // So does a whole.
    world.fetch("GET /", "200\nCache-Control: max-age=60", "new");
    assert_eq!(given(&world, "bytes=1-1"), Some(bytes("e", "bytes 1-1/3")));
}

#[test]
fn a_part_does_not_push_out_a_whole() {
    let mut world = World::new();
    world.fetch("GET /", "200\nCache-Control: max-age=60", WHOLE);
    let later = "206\nCache-Control: max-age=60\nContent-Range: bytes 8-9/10";
    world.fetch("GET /\nRange: bytes=8-9\nCache-Control: no-cache", later, "xy");
    assert_eq!(world.ask("GET /"), hit(WHOLE));
    assert_eq!(given(&world, "bytes=8-9"), Some(bytes("89", "bytes 8-9/10")));
    // After expiry, a newer part is better than nothing, and the whole may still be of use.
    world.at += 100;
    world.fetch("GET /\nRange: bytes=8-9", later, "xy");
    assert_eq!(given(&world, "bytes=8-9"), Some(bytes("xy", "bytes 8-9/10")));
    assert_eq!(
        world.ask("GET /\nCache-Control: max-stale"),
        Got::Stored { status: 200, body: WHOLE.into(), outcome: CacheOutcome::Stale }
    );
}

#[test]
fn a_whole_that_comes_for_a_range_is_kept() {
    let world = World::new();
    world.fetch("GET /\nRange: bytes=0-1", "200\nCache-Control: max-age=60", WHOLE);
    assert_eq!(world.ask("GET /"), hit(WHOLE));
    assert_eq!(given(&world, "bytes=0-1"), Some(bytes("01", "bytes 0-1/10")));
}

#[test]
fn an_answer_about_a_range_does_not_remove_what_is_stored() {
    let mut world = World::new();
    world.fetch("GET /", "200\nCache-Control: max-age=10, stale-if-error=60", WHOLE);
    world.at += 20;
    world.fetch("GET /\nRange: bytes=90-", "416\nContent-Range: bytes */10", "no");
    let (_, settled) = world.fetch("GET /", "503", "no");
    assert!(matches!(settled, Settled::Serve(_)));
}

#[test]
fn a_stale_part_is_asked_for_anew_and_given_when_the_origin_fails() {
    let mut world = World::new();
    part(&world, 4, 8, "ETag: \"1\"\nCache-Control: max-age=10, stale-if-error=60, stale-while-revalidate=60");
    world.at += 20;
    assert_eq!(world.ask("GET /\nRange: bytes=5-6"), miss());
    let (exchange, settled) = world.fetch("GET /\nRange: bytes=5-6", "503", "no");
    let Settled::Serve(stored) = settled else { panic!() };
    let stale = Got::Stored { status: 206, body: "56".into(), outcome: CacheOutcome::Stale };
    assert_eq!(got_stored(&exchange, &stored), stale);
    let answer = "206\nETag: \"2\"\nContent-Range: bytes 5-6/10\nCache-Control: max-age=60";
    world.fetch("GET /\nRange: bytes=5-6", answer, "xy");
    assert_eq!(given(&world, "bytes=5-6"), Some(bytes("xy", "bytes 5-6/10")));
    assert_eq!(given(&world, "bytes=4-4"), None);
}

#[test]
fn parts_are_bounded_in_size_and_number() {
    let world = World::with(CacheRules { max_entry: 6, ..rules() });
    let control = "ETag: \"1\"\nCache-Control: max-age=60";
    part(&world, 0, 3, control);
    part(&world, 4, 7, control);
    // Together they would be too large.
    assert_eq!(given(&world, "bytes=3-4"), None);
    assert_eq!(given(&world, "bytes=3-3"), Some(bytes("3", "bytes 3-3/10")));
    part(&world, 0, 9, control);
    assert_eq!(given(&world, "bytes=3-4"), None);

    let world = World::new();
    for number in 0..3 * MOST_PARTS {
        let (first, last) = (4 * number, 4 * number + 1);
        let answer = format!("206\nContent-Range: bytes {first}-{last}/1000\nCache-Control: max-age=60");
        world.fetch(&format!("GET /\nRange: bytes={first}-{last}"), &answer, "ab");
    }
    let kept = |number: &usize| given(&world, &format!("bytes={}-{}", 4 * number, 4 * number)).is_some();
    let kept: Vec<usize> = (0..3 * MOST_PARTS).filter(kept).collect();
    assert_eq!(kept, (2 * MOST_PARTS..3 * MOST_PARTS).collect::<Vec<_>>());
}

#[test]
fn a_change_or_a_purge_ends_parts_too() {
    for purges in [false, true] {
        let mut world = World::new();
        part(&world, 0, 4, "ETag: \"1\"\nCache-Control: max-age=60");
        world.at += 1;
        if purges {
            assert_eq!(world.cache.purge(&Purge::Service("s".into()), world.now()), 1);
        } else {
            world.cache.invalidate(b"h.test", b"/", world.now());
        }
        assert_eq!(given(&world, "bytes=0-1"), None);
    }
}

/// For any ranges in any order, the cache returns what the origin has.
#[test]
fn parts_of_random_ranges_are_never_wrong() {
    let text: String = (b'a'..=b'z').map(char::from).collect();
    let mut random = fastrand::Rng::with_seed(11);
    let (mut hits, mut wholes) = (0, 0);
    for _ in 0..300 {
        let world = World::new();
        for _ in 0..20 {
            let (first, last) = (random.usize(..26), random.usize(..26));
            let (first, last) = (first.min(last), first.max(last));
            let request = match random.usize(..8) {
                0 => "GET /".to_owned(),
                1 => format!("GET /\nRange: bytes={first}-"),
                2 => format!("GET /\nRange: bytes=-{}", last + 1),
                _ => format!("GET /\nRange: bytes={first}-{last}"),
            };
            let mut exchange = world.exchange(&request);
            let value = request.split_once("Range: ").map_or("bytes=0-", |(_, value)| value);
            let range::RequestedRange::Bytes(wanted) = range::parse_range(value.as_bytes(), 26) else { panic!() };
            if let Verdict::Stored(stored) = world.lookup(&mut exchange) {
                assert_eq!(String::from_utf8_lossy(&stored.entry.body[stored.part]), text[wanted], "{request}");
                hits += 1;
                wholes += usize::from(request == "GET /");
            } else if request != "GET /" {
                let place = format!("bytes {}-{}/26", wanted.start, wanted.end - 1);
                let answer = format!("206\nETag: \"1\"\nCache-Control: max-age=60\nContent-Range: {place}");
                world.answer(&mut exchange, &answer, &text[wanted]);
            }
        }
    }
    assert!(hits > 1000 && wholes > 10, "{hits} {wholes}");
}
