//! A cache hit allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pylae_core::cache::{Cache, CacheRules, Settled, lookup, on_response};
use pylae_core::request::admit::admit;
use pylae_core::{Exchange, Instant, Verdict};
use pylae_http::{Framing, HeadLimits};

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
const REQUEST: &[u8] =
    b"GET /api/items/7?full=1 HTTP/1.1\r\nHost: shop.example\r\nAccept: */*\r\nAccept-Language: de\r\n\
    User-Agent: test\r\nCache-Control: max-stale=5\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\n\
    ETag: \"1\"\r\nVary: Accept-Language\r\nCache-Control: max-age=1000000\r\nServer: s\r\nContent-Length: 5\r\n\r\n";

/// Hits of one round.
const ROUND: u32 = 200;

fn read(exchange: &mut Exchange) {
    exchange.reset();
    exchange.request.buffer.clear();
    exchange.request.buffer.extend_from_slice(REQUEST);
    assert_eq!(exchange.request.head.parse(&exchange.request.buffer, &LIMITS), Ok(true));
    assert_eq!(admit(exchange, |_: IpAddr| false, 7), Ok(()));
    exchange.times.started = Instant::from_nanos(5_000_000_000);
    exchange.times.now = exchange.times.started;
    exchange.times.wall = Duration::from_secs(1_700_000_000);
}

#[test]
fn a_hit_allocates_nothing() {
    let cache = Cache::new(1 << 22);
    let rules = Arc::new(CacheRules {
        route: "items".into(),
        ttl: Duration::from_secs(300),
        error_ttl: Duration::ZERO,
        heuristic: 0.0,
        overrides: false,
        per_user: true,
        vary: ["x-tenant".into()].into(),
        normalize_language: false,
        max_entry: 1 << 20,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        wait: Duration::from_secs(5),
        client_directives: true,
        ignore_cookies: false,
        strips_set_cookie: false,
        cache_status: true,
        tags: [].into(),
    });
    let mut exchange = Exchange::new(16_384);
    read(&mut exchange);
    assert!(matches!(lookup(&cache, &rules, &mut exchange), Verdict::Continue));
    exchange.response.buffer.extend_from_slice(ANSWER);
    exchange.response.head.parse(&exchange.response.buffer, &LIMITS).unwrap();
    let settled = on_response(&mut exchange, &Arc::from("shop"), Framing::Length(5));
    assert!(matches!(settled, Settled::Relay));
    exchange.cache_visit().copy_body(b"hello");
    exchange.cache_visit().complete();

    // The fastest of many rounds, because the machine is shared.
    let mut hits = |rounds: u32| {
        let mut quickest = [Duration::MAX; 2];
        for round in 0..2 * rounds as usize {
            let began = std::time::Instant::now();
            for _ in 0..ROUND {
                read(&mut exchange);
                if round % 2 == 1 {
                    let verdict = lookup(&cache, &rules, &mut exchange);
                    assert!(matches!(verdict, Verdict::Stored(stored) if &*stored.entry.body == b"hello"));
                }
            }
            quickest[round % 2] = quickest[round % 2].min(began.elapsed());
        }
        quickest[1].saturating_sub(quickest[0]) / ROUND
    };
    hits(1);
    let before = ALLOCATIONS.get();
    let each = hits(200);
    assert_eq!(ALLOCATIONS.get() - before, 0);
    println!("a hit takes {each:?} in this build");
}
