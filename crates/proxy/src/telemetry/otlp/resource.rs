//! The resource: whom telemetry is about, and the message that goes around all items (`ExportTraceServiceRequest` and
//! those of the other signals, whose fields have the same numbers).

use std::collections::BTreeMap;

use pylae_core::plan::TelemetryPlan;

use super::attributes::Attributes;
use super::protobuf::{put_head, put_message, put_string};

/// Name and language of what encodes: `telemetry.sdk.…` names an SDK, and there is none.
const SDK: &str = "pylae";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The attributes of the resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TelemetryResource {
    attributes: BTreeMap<String, String>,
}

impl TelemetryResource {
    /// The resource of a plan. `instance` is unique to this run of the gateway.
    pub(super) fn new(plan: &TelemetryPlan, instance: &str) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let own = [
            ("service.name", plan.service_name.as_str()),
            ("service.version", VERSION),
            ("service.instance.id", instance),
            ("telemetry.sdk.name", SDK),
            ("telemetry.sdk.language", "rust"),
            ("telemetry.sdk.version", VERSION),
            ("host.name", &host),
        ];
        let mut attributes: BTreeMap<String, String> =
            own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        attributes.extend(plan.attributes.clone());
        Self { attributes }
    }

    /// Encodes a whole request around items into the memory of `out`: at most one resource, and one scope.
    pub(crate) fn wrap(&self, items: &[u8], mut out: Vec<u8>) -> Vec<u8> {
        let mut resource = Vec::with_capacity(512);
        put_message(&mut resource, 1, |out| {
            let mut attributes = Attributes::new(out, 1);
            for (key, value) in &self.attributes {
                attributes.text(key, value);
            }
            if !self.attributes.contains_key("process.pid") {
                attributes.int("process.pid", std::process::id().into());
            }
        });
        let mut scope = Vec::with_capacity(32);
        put_message(&mut scope, 1, |out| {
            put_string(out, 1, SDK);
            put_string(out, 2, VERSION);
        });
        let mut head = Vec::with_capacity(16);
        put_head(&mut head, 2, scope.len() + items.len());
        out.clear();
        out.reserve(resource.len() + scope.len() + items.len() + 32);
        put_head(&mut out, 1, resource.len() + head.len() + scope.len() + items.len());
        for part in [&resource, &head, &scope, items] {
            out.extend_from_slice(part);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::protobuf::put_bytes;
    use super::super::reader::{WireField, bytes_of, fields};
    use super::*;

    fn pairs(resource: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let pair = |(_, field): (u32, WireField<'_>)| {
            let WireField::Bytes(pair) = field else { panic!("an attribute") };
            let pair = fields(pair);
            (text(bytes_of(&pair, 1).unwrap()), bytes_of(&pair, 2).unwrap().to_vec())
        };
        fields(resource).into_iter().map(pair).collect()
    }

    #[test]
    fn items_are_in_one_scope_of_one_resource() {
        let given = BTreeMap::from([("host.name".to_owned(), "named".to_owned()), ("a".to_owned(), "b".to_owned())]);
        let plan = TelemetryPlan {
            service_name: "shop".to_owned(),
            attributes: given,
            traces: None,
            metrics: None,
            logs: None,
        };
        let resource = TelemetryResource::new(&plan, "one");
        let mut items = Vec::new();
        put_bytes(&mut items, 2, b"span");
        put_bytes(&mut items, 2, &[b'x'; 300]);
        let request = resource.wrap(&items, vec![b'y'; 7]);
        let [(1, WireField::Bytes(whole))] = fields(&request)[..] else { panic!("one resource") };
        let whole = fields(whole);
        assert_eq!(whole.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2]);
        let found = pairs(bytes_of(&whole, 1).unwrap());
        let mut named = vec![0x0a, 4];
        named.extend_from_slice(b"shop");
        assert_eq!(found["service.name"], named);
        assert_eq!(found["host.name"], b"\x0a\x05named", "what is given replaces what is found");
        assert_eq!(found["a"], b"\x0a\x01b");
        for key in ["service.version", "service.instance.id", "telemetry.sdk.name", "process.pid"] {
            assert!(found.contains_key(key), "{key}");
        }
        let scope = fields(bytes_of(&whole, 2).unwrap());
        assert_eq!(scope[1..], [(2, WireField::Bytes(b"span")), (2, WireField::Bytes(&[b'x'; 300]))]);
        assert_eq!(bytes_of(&fields(bytes_of(&scope, 1).unwrap()), 1), Some(&b"pylae"[..]));
    }
}
