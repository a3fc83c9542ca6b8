//! Plans, derived from a golden one, so that their fields are listed in one place only.

use serde_json::{Value, json};

use super::instance::Instance;

/// Kept up to date by the tests of the Python package. It has one listener, one service and one route without policies,
/// all with the defaults of the configuration.
const SMALLEST: &str = include_str!("../../../../../tests/golden/smallest.json");

/// A builder of plans. They listen on a free port of 127.0.0.1 and have one worker.
pub(crate) struct Plan {
    document: Value,
    service: Value,
    route: Value,
}

impl Plan {
    /// A plan without services and routes.
    pub(crate) fn new() -> Self {
        let mut document: Value = serde_json::from_str(SMALLEST).unwrap();
        document["listeners"][0]["address"] = json!("127.0.0.1:0");
        let service = document["services"][0].take();
        let mut route = document["routes"][0].take();
        route["match"]["path"] = json!({"kind": "prefix", "value": "/"});
        (document["services"], document["routes"]) = (json!([]), json!([]));
        Self { document, service, route }
    }

    /// A plan that forwards everything to one service, `all`, with these instances.
    pub(crate) fn to<'a>(instances: impl IntoIterator<Item = &'a Instance>) -> Self {
        Self::to_urls(instances.into_iter().map(Instance::url))
    }

    pub(crate) fn to_urls(urls: impl IntoIterator<Item = String>) -> Self {
        Self::new().service("all", urls, json!({})).route("all", json!({"service": "all"}))
    }

    /// Adds a service. `settings` has the form of the plan and overrides the defaults.
    pub(crate) fn service(mut self, name: &str, urls: impl IntoIterator<Item = String>, settings: Value) -> Self {
        let instances: Vec<Value> = urls.into_iter().map(|url| json!({"url": url, "weight": 1})).collect();
        let mut service = self.service.clone();
        merge(&mut service, json!({"name": name, "instances": instances}));
        merge(&mut service, settings);
        list(&mut self.document["services"]).push(service);
        self
    }

    /// Adds a route. `settings` has the form of the plan and overrides the defaults. The default matches all paths.
    pub(crate) fn route(mut self, name: &str, settings: Value) -> Self {
        let mut route = self.route.clone();
        merge(&mut route, json!({"name": name}));
        merge(&mut route, settings);
        list(&mut self.document["routes"]).push(route);
        self
    }

    /// Changes the first service.
    pub(crate) fn with_service(mut self, settings: Value) -> Self {
        merge(&mut self.document["services"][0], settings);
        self
    }

    /// Changes the first route.
    pub(crate) fn with_route(mut self, settings: Value) -> Self {
        merge(&mut self.document["routes"][0], settings);
        self
    }

    /// Changes the limits.
    pub(crate) fn with_limits(mut self, limits: Value) -> Self {
        merge(&mut self.document["limits"], limits);
        self
    }

    /// Changes anything: objects are merged, other values are replaced.
    pub(crate) fn with(mut self, settings: Value) -> Self {
        merge(&mut self.document, settings);
        self
    }

    pub(crate) fn build(&self) -> pylae_core::Plan {
        serde_json::from_value(self.document.clone()).expect("a plan")
    }
}

fn list(value: &mut Value) -> &mut Vec<Value> {
    value.as_array_mut().expect("a list")
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
