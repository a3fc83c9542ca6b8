use std::io::ErrorKind;

use serde_json::json;

use super::*;
use crate::snapshot::fixture::{answering, listening, struck_on};
use crate::telemetry::panics::fixture::{count, records, wait_until};
use crate::telemetry::panics::install;

#[test]
fn health_checks_go_on_after_a_panic() {
    let shared = Arc::<WorkerShared>::default();
    let log = Arc::clone(&shared.log);
    install(&log);
    let (address, _) = listening();
    let (checked, instance) = listening();
    let check = json!({
        "instances": [{"url": format!("http://{checked}"), "weight": 1}],
        "health_check": {
            "path": "/health", "grpc": null, "interval": 0.02, "timeout": 10.0, "healthy_after": 1,
            "unhealthy_after": 1,
        },
    });
    let plain = || struck_on("pylae-auxiliary", answering(address, "own", &json!({})));
    let metrics = Arc::new(Metrics::new(1, clock::now()));
    let auxiliary = Auxiliary::start(plain(), shared, Arc::new(PolicyShared::new(1)), metrics).unwrap();
    // A snapshot panics if the thread is the last that drops it, which is up to the scheduler.
    wait_until(|| {
        auxiliary.set_snapshot(plain());
        count(&log, "auxiliary") > 0
    });
    let found = records(&log, "auxiliary");
    assert!(found[0].starts_with("pylae-auxiliary ") && found[0].contains("snapshot/fixture.rs:"), "{found:?}");
    auxiliary.set_snapshot(Arc::new(answering(address, "own", &check)));
    wait_until(|| match instance.accept() {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            false
        }
    });
}
