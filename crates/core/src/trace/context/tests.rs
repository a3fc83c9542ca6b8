use proptest::prelude::*;

use super::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const RANDOM: [u128; 2] = [0x1111_2222_3333_4444_5555_6666_7777_8888, 0x9999_aaaa_bbbb_cccc_dddd_eeee_ffff_0123];

fn receive(parents: &[&str], states: &[&str]) -> TraceContext {
    let bytes = |lines: &[&str]| lines.iter().map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>();
    let (parents, states) = (bytes(parents), bytes(states));
    TraceContext::receive(parents.iter().map(Vec::as_slice), states.iter().map(Vec::as_slice), RANDOM)
}

fn continues(parent: &str) -> bool {
    receive(&[parent], &[]).parent_id != 0
}

#[test]
fn a_valid_parent_is_continued_with_a_span_of_its_own() {
    let context = receive(&[&format!("00-{TRACE}-{PARENT}-03")], &["a=1"]);
    assert_eq!(
        (context.trace_id, context.parent_id),
        (0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, 0xb7ad_6b71_6920_3331)
    );
    assert!(context.flags.is_sampled() && context.flags.is_random() && !context.drops_state);
    assert_eq!(context.span_id, 0xdddd_eeee_ffff_0123);
    // Random, so the trace id decides; otherwise what was drawn here.
    assert_eq!(context.draw, 0x0048_eb21_1c80_319c);
    assert_eq!(receive(&[&format!("00-{TRACE}-{PARENT}-01")], &[]).draw, 0x0099_aaaa_bbbb_cccc & RANDOM_PART);
}

#[test]
fn what_is_written_is_version_00_with_known_flags_only() {
    for (sent, sampled, flags) in [
        ("00", false, "00"),
        ("01", true, "01"),
        ("01", false, "00"),
        ("02", true, "03"),
        ("ff", true, "03"),
        ("f4", false, "00"),
    ] {
        let mut context = receive(&[&format!("00-{TRACE}-{PARENT}-{sent}")], &[]);
        context.sampled = sampled;
        assert_eq!(context.traceparent(0xab).as_slice(), format!("00-{TRACE}-00000000000000ab-{flags}").as_bytes());
    }
    let mut later = receive(&[&format!("cc-{TRACE}-{PARENT}-01-more")], &[]);
    later.sampled = true;
    assert_eq!(later.traceparent(1).as_slice(), format!("00-{TRACE}-0000000000000001-01").as_bytes());
}

#[test]
fn an_invalid_parent_begins_a_new_trace_without_state() {
    let (zeros, short) = ("0".repeat(32), &PARENT[1..]);
    for parent in [
        String::new(),
        format!("00-{TRACE}-{PARENT}-0"),
        format!("00-{TRACE}-{PARENT}-001"),
        format!("00-{TRACE}-{PARENT}-01-"),
        format!("00-{TRACE}-{PARENT}-01-future"),
        format!("cc-{TRACE}-{PARENT}-01.future"),
        format!("cc-{TRACE}-{PARENT}-011"),
        format!("ff-{TRACE}-{PARENT}-01"),
        format!("FE-{TRACE}-{PARENT}-01"),
        format!(".0-{TRACE}-{PARENT}-01"),
        format!("0-{TRACE}-{PARENT}-01"),
        format!("000-{TRACE}-{PARENT}-01"),
        format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
        format!("00-{TRACE}-{}-01", PARENT.to_uppercase()),
        format!("00-{TRACE}-{PARENT}-0A"),
        format!("00-{TRACE}-{PARENT}-.1"),
        format!("00-{zeros}-{PARENT}-01"),
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!("00-{TRACE}-{short}-01"),
        format!("00-{TRACE}-{short}-01 "),
        format!("00_{TRACE}_{PARENT}_01"),
    ] {
        let context = receive(&[&parent], &["a=1"]);
        assert_eq!((context.trace_id, context.parent_id), (RANDOM[0], 0), "{parent}");
        assert!(context.drops_state && context.flags == TraceFlags::of(TraceFlags::RANDOM), "{parent}");
        assert_eq!(context.draw, RANDOM[0] as u64 & RANDOM_PART);
    }
}

#[test]
fn several_parents_are_none_and_later_versions_are_read_as_far_as_known() {
    let parent = format!("00-{TRACE}-{PARENT}-01");
    assert_eq!(receive(&[&parent, &parent], &[]).parent_id, 0);
    assert_eq!(receive(&[], &[]).parent_id, 0);
    assert!(continues(&parent));
    for later in ["cc", "01", "fe"] {
        assert!(continues(&format!("{later}-{TRACE}-{PARENT}-01")));
        assert!(continues(&format!("{later}-{TRACE}-{PARENT}-01-what-the-future-will-be-like")));
    }
}

#[test]
fn state_that_is_invalid_does_not_harm_the_parent() {
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let context = receive(&[&parent], &["a=1", "A=2"]);
    assert!(context.drops_state && context.parent_id != 0);
}

#[test]
fn each_call_of_a_hook_has_a_span_of_its_own() {
    let mut context = receive(&[], &[]);
    let ids: std::collections::BTreeSet<u64> = (0..100)
        .map(|_| {
            context.begin_hook();
            context.hook_id
        })
        .collect();
    assert!(ids.len() == 100 && !ids.contains(&context.span_id) && !ids.contains(&0));
    let below = context.below(5);
    assert_eq!((below.parent_id, below.span_id, below.hook_id), (context.span_id, 5, 0));
}

#[test]
fn ids_are_never_zero() {
    let none = || std::iter::empty();
    let context = TraceContext::receive(none(), none(), [0, 0]);
    assert!(context.trace_id != 0 && context.span_id != 0);
    let mut context = context;
    context.begin_attempt(0);
    assert_ne!(context.attempt_id, 0);
}

proptest! {
    #[test]
    fn no_bytes_do_any_harm(value in proptest::collection::vec(any::<u8>(), 0..80)) {
        let context = TraceContext::receive([&value[..]].into_iter(), std::iter::empty(), RANDOM);
        prop_assert!(context.is_known());
    }

    #[test]
    fn what_is_written_is_read_again(trace in 1..=u128::MAX, span in 1..=u64::MAX, flags in 0..4_u8) {
        let context = TraceContext { trace_id: trace, flags: TraceFlags::of(flags), sampled: flags % 2 == 1, ..TraceContext::default() };
        let read = parse(&context.traceparent(span));
        prop_assert_eq!(read, Some((trace, span, TraceFlags::of(flags))));
    }

    #[test]
    fn one_changed_byte_changes_the_context_or_spoils_it(at in 0..TRACEPARENT_LEN, byte in any::<u8>()) {
        let context = TraceContext { trace_id: 7 << 90, flags: TraceFlags::of(3), sampled: true, ..TraceContext::default() };
        let mut text = context.traceparent(9 << 40);
        let before = parse(&text);
        prop_assume!(text[at] != byte);
        text[at] = byte;
        // Versions and unknown flags are read alike.
        prop_assert!(parse(&text) != before || !(2..=52).contains(&at));
    }
}
