use std::io::ErrorKind;

use serde_json::json;
use tokio::task::LocalSet;

use super::*;
use crate::snapshot::fixture::{answering, listening};
use crate::telemetry::panics::fixture::{PATIENCE, count};
use crate::telemetry::panics::{enter, install};

#[test]
#[expect(clippy::await_holding_refcell_ref, reason = "that is what makes the check panic")]
fn an_instance_is_checked_after_its_check_has_panicked() {
    let shared = Arc::<WorkerShared>::default();
    let log = Arc::clone(&shared.log);
    install(&log);
    enter(Some(&log), Duty::Auxiliary);
    let (address, instance) = listening();
    let rules = json!({
        "path": "/health", "grpc": null, "interval": 0.02, "timeout": 10.0, "healthy_after": 1, "unhealthy_after": 1,
    });
    let settings = json!({
        "instances": [{"url": format!("http://{address}"), "weight": 1}], "health_check": rules,
    });
    let snapshot = answering(address, "own", &settings);
    let service = snapshot.services.values().next().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let checked = async {
        let target = CheckTarget { service: Arc::clone(service), index: 0 };
        let check = Check::start(target, service.plan.health_check.clone().unwrap(), Arc::clone(&shared));
        let held = check.target.borrow_mut();
        while count(&log, "auxiliary") == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(held);
        while let Err(error) = instance.accept() {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    LocalSet::new().block_on(&runtime, async { tokio::time::timeout(PATIENCE, checked).await.unwrap() });
}
