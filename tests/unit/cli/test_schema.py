"""`pylae schema`."""

from __future__ import annotations

import json


def test_the_schema_knows_the_keys_and_their_meaning(pylae) -> None:
    result = pylae("schema")
    assert result.exit_code == 0
    schema = json.loads(result.output)
    assert {"listeners", "services", "routes", "policies"} <= set(schema["properties"])
    assert all(schema["properties"][key].get("description") for key in ("listeners", "services", "routes"))
