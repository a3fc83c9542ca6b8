from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from pylae.config.document.load import read
from pylae.config.models.config import Config

SCHEMA = Config.model_json_schema()
GOLDEN = Path(__file__).parents[2] / "golden"


def test_it_is_a_schema_whose_every_field_is_described() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for name, definition in [("Config", SCHEMA), *SCHEMA["$defs"].items()]:
        mapping = definition.get("anyOf", [definition])[0]
        for field, schema in mapping["properties"].items():
            # Pydantic leaves out a description that repeats that of the model.
            model = SCHEMA["$defs"].get(schema.get("$ref", "").rpartition("/")[2], {})
            assert schema.get("description") or model.get("description"), f"{name}.{field}"


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.yaml")), ids=lambda file: file.stem)
def test_it_takes_what_is_right(file: Path) -> None:
    jsonschema.validate(read(file).root.plain(), SCHEMA)


@pytest.mark.parametrize(
    "wrong",
    [
        {"listener": []},
        {"routes": [{"path": "/", "methud": "GET"}]},
        {"services": {"a": {"instances": ["http://a"], "load_balancer": "round_robbin"}}},
        {"policies": {"security_headers": 5}},
    ],
)
def test_it_refuses_what_is_wrong(wrong: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)
