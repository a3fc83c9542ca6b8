//! The choice of a split's member allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use pylae_core::route::{ChosenBy, Router, Scratch};
use pylae_core::{Exchange, Plan};
use pylae_http::HeadLimits;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator; this only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const LIMITS: HeadLimits = HeadLimits { head: 32_768, target: 8192, fields: 100 };

#[test]
fn a_choice_allocates_nothing() {
    // By condition, one of them a pattern; by a cookie that is not known; by weight.
    let requests = [
        ("GET / HTTP/1.1\r\nHost: a\r\nX-Kind: beta\r\nCookie: group=b\r\n\r\n", ChosenBy::When),
        ("GET / HTTP/1.1\r\nHost: a\r\nX-Kind: beta\r\nCookie: at=0123456789abcdef\r\n\r\n", ChosenBy::Weight),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", ChosenBy::Weight),
    ];
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/plan/split");
    let plan: Plan = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let router = Router::build(&plan.routes).unwrap();
    let (mut scratch, turns, mut exchange) = (Scratch::default(), AtomicU64::new(0), Exchange::new(1024));
    let (mut written, mut before) = (Vec::with_capacity(1024), 0);
    for round in 0..3 {
        for (head, by) in requests {
            exchange.reset();
            exchange.request.buffer.clear();
            exchange.request.buffer.extend_from_slice(head.as_bytes());
            assert_eq!(exchange.request.head.parse(&exchange.request.buffer, &LIMITS), Ok(true));
            let choice = router.choose(0, &exchange, &mut scratch, &turns, |_| true).unwrap();
            assert_eq!(choice.by, by, "{head}");
            let split = router.split(0).unwrap();
            exchange.set_member(&split.members()[choice.index], choice);
            written.clear();
            assert_eq!(split.write_cookie(&exchange, &mut written), by == ChosenBy::Weight);
        }
        if round == 0 {
            before = ALLOCATIONS.get();
        }
    }
    assert_eq!(ALLOCATIONS.get(), before, "once everything is warm");
}
