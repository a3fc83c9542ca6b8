use std::sync::Mutex;

use pylae_policies::PolicyShared;
use pylae_policies::authentication::{Authenticators, Background};
use serde_json::json;

use super::*;

/// Collects the sets that it must watch.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Arc<KeySet>>>>);

impl Background for Collector {
    fn run(&self, _: Box<dyn FnOnce() + Send>) -> bool {
        false
    }

    fn watch(&self, set: &Arc<KeySet>) {
        self.0.lock().unwrap().push(Arc::clone(set));
    }
}

#[test]
fn a_fetch_that_panics_has_failed() {
    let (shared, collector) = (PolicyShared::new(10), Collector::default());
    shared.identity.set_background(Box::new(collector.clone()));
    let dpop = json!({
        "required": false, "announced": false, "max_age": 60.0, "nonce": false, "nonce_secret": null,
        "algorithms": ["ES256"],
    });
    let jwt = json!({
        "kind": "jwt", "name": "jwt", "keys": {"from": "url", "value": "http://keys.test/?secret=1"}, "algorithms": [],
        "refresh": 600.0, "max_size": 8192, "issuers": [], "audiences": [], "required_claims": ["exp"], "leeway": 30.0,
        "forward_credentials": true,
        "binding": {"certificate_required": false, "dpop": dpop},
        "claims": {"id": ["sub"], "email": ["email"], "role": ["role"], "permissions": ["scope"]},
    });
    let auth = json!({"realm": "test", "failure_limit": null, "authenticators": [jwt]});
    let built = Authenticators::build(Some(&auth), &shared.identity);
    assert!(built.is_ok());
    let (set, log) = (Arc::clone(&collector.0.lock().unwrap()[0]), Arc::<Log>::default());
    let fetch = RunningFetch::begin(&set, &log);
    assert_eq!(set.due(), None, "under way");
    let thread = std::thread::spawn(move || {
        let _fetch = fetch;
        panic!("in the fetch");
    });
    assert!(thread.join().is_err());
    assert!(set.due().is_some(), "it is fetched again");
    let records = log.take().unwrap();
    let text =
        "the keys at http://keys.test/ could not be fetched, the last good ones stay in force: the fetch ended early";
    assert!(records.iter().any(|record| record.event == "keys_not_fetched" && record.message == text), "{records:?}");
}
