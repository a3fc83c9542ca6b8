//! Keys of connection pools, which outlive snapshots.

use std::collections::HashMap;

use pylae_core::plan::{self, Plan};

/// Keys of connection pools by address and TLS settings. They outlive a snapshot, so that connections survive a reload.
#[derive(Clone, Default)]
pub(crate) struct PoolKeys {
    by_address: HashMap<(String, Option<plan::ServiceTls>), u64>,
    next: u64,
}

impl PoolKeys {
    /// Keys for the addresses of `plan`. Known addresses keep their key, and those not in the plan are dropped.
    pub(super) fn for_plan(&self, plan: &Plan) -> Self {
        let mut keys = Self { by_address: HashMap::new(), next: self.next };
        for (service, instance) in
            plan.services.iter().flat_map(|service| service.instances.iter().map(move |instance| (service, instance)))
        {
            let address = address(service, instance);
            let key = self.by_address.get(&address).copied();
            keys.by_address.entry(address).or_insert_with(|| {
                key.unwrap_or_else(|| {
                    keys.next += 1;
                    keys.next
                })
            });
        }
        keys
    }

    pub(super) fn get(&self, service: &plan::ServicePlan, instance: &plan::InstancePlan) -> u64 {
        self.by_address[&address(service, instance)]
    }
}

/// The identity of a pool: connections made with other TLS settings must not be reused.
fn address(service: &plan::ServicePlan, instance: &plan::InstancePlan) -> (String, Option<plan::ServiceTls>) {
    (instance.url.clone(), service.tls.clone())
}
