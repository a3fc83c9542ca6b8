use std::task::Context;
use std::task::Waker;

use pylae_core::limit::{Charge, ChargeOutcome, LimitAlgorithm, LimitMode, LimitShape};
use pylae_core::plan::{StoreKind, StoreServer};

use super::*;
use crate::store::fixture::plan;
use crate::telemetry::log::Log;

#[test]
fn nobody_waits_for_calls_that_the_store_thread_has_dropped() {
    let server = StoreServer { host: "127.0.0.1".to_owned(), port: 1 };
    let store = Store::new(&plan(StoreKind::Single, server), &Arc::<Log>::default()).unwrap();
    let counters = ClusterCounters::new(&store, 16);
    let shape = LimitShape::new(LimitAlgorithm::TokenBucket, 10, Duration::from_secs(60), None).unwrap();
    let limit = counters.counters.register("test", shape, LimitMode::Exact).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..2 {
        let mut charges = [Charge::new(&limit, b"key", 1)];
        let ChargeOutcome::Pending(mut pending) = counters.counters.check_all(&mut charges, clocks()) else {
            panic!("the store is asked")
        };
        // Not even begun, as when the thread panics before.
        drop(counters.collect(Due::Urgent).unwrap());
        assert!(pending.as_mut().poll(&mut context).is_ready(), "`on_store_error` has decided");
        assert_eq!(*counters.sending.borrow(), 0);
    }
}
