use serde_json::json;

use super::*;

#[test]
fn schemas_are_checked_when_they_are_built() {
    for good in [
        json!(true),
        json!({"type": "object", "properties": {"a": {"pattern": "^a+$"}}}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {}}}),
    ] {
        assert!(compile(&good).is_ok(), "{good}");
    }
    for bad in [
        json!({"type": "objekt"}),
        json!({"properties": []}),
        json!({"minimum": "1"}),
        json!({"pattern": "("}),
        // Does not match in linear time.
        json!({"pattern": "(?=a)b"}),
        // References are never fetched.
        json!({"$ref": "http://127.0.0.1:9/schema.json"}),
        json!({"$ref": "file:///etc/hostname"}),
        json!({"$ref": "#/$defs/none"}),
        json!(5),
    ] {
        assert!(compile(&bad).is_err(), "{bad}");
    }
}
