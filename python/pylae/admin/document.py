"""The OpenAPI document of the admin API: what each endpoint is called, and every answer that it may give.

An endpoint declares the refusals that are its own with `refusals`. Those that all have are added here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from pylae.admin.endpoint import SCHEME
from pylae.admin.guard import MOST_BODY
from pylae.admin.problems import MEDIA_TYPE, Refusal

_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{Refusal.__name__}"}}}
_ALWAYS = {
    400: "The request is malformed; for example it has no `Host`, or two.",
    403: "The request is for another host or comes from a page of another site, or the token lacks the scope.",
    500: "An error of the gateway itself. Its log has the details.",
    503: "The gateway stops, or Python does not answer; `code` says the latter.",
}
_PROTECTED = {401: "The token is missing or wrong."}
_WITH_BODY = {
    413: f"The body is larger than {MOST_BODY // 2**20} MB.",
    415: "The body is compressed, or is no JSON by its `Content-Type` where JSON is needed.",
}
_CHECKED = {
    422: "A parameter or the body does not have the form that is described here, or there is no such parameter. "
    "`problems` has the flaws."
}
_NAMES = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    413: "ContentTooLarge",
    415: "UnsupportedMediaType",
    422: "UnprocessableContent",
    500: "InternalServerError",
    503: "ServiceUnavailable",
}
"""Names of the answers above in the document."""
_CHALLENGE = {"WWW-Authenticate": {"description": "How to send the token.", "schema": {"type": "string"}}}
_NAMELESS = "Successful Response"
"""What FastAPI says of an answer without a description."""
_SENTENCE = re.compile(r".+?(?=[.:](?:\s|$)|\n\n|$)", re.DOTALL)


def refusals(reasons: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """Returns the refusals of an endpoint, as its `responses`: their statuses, and what each of them means here."""
    return {status: {"description": reason, "content": _CONTENT} for status, reason in reasons.items()}


def operation_id(route: APIRoute) -> str:
    """Returns the name of an operation in generated clients: that of its function."""
    return f"{route.name}_head" if route.methods == {"HEAD"} else route.name


class Described(FastAPI):
    """An application whose document describes every answer."""

    def openapi(self) -> dict[str, Any]:
        """Returns the document."""
        if self.openapi_schema is None:
            document = super().openapi()
            components = document.setdefault("components", {})
            schemas = components.setdefault("schemas", {})
            # The refusals of FastAPI have another form.
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            schemas |= _schemas()
            token = {"type": "http", "scheme": "bearer", "description": "A token with the scope in the list."}
            components["securitySchemes"] = {SCHEME: token}
            components["responses"] = {
                _NAMES[int(status)]: {**answer, **({"headers": _CHALLENGE} if status == 401 else {})}
                for status, answer in refusals(_ALWAYS | _PROTECTED | _WITH_BODY | _CHECKED).items()
            }
            for operation in _operations(document):
                _describe(operation, schemas)
        return self.openapi_schema or {}


def _schemas() -> dict[str, Any]:
    whole = Refusal.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**whole.pop("$defs"), Refusal.__name__: whole}


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in document["paths"].values():
        yield from methods.values()


def _describe(operation: dict[str, Any], schemas: Mapping[str, Any]) -> None:
    found = _SENTENCE.match(operation["description"])
    operation["summary"] = " ".join(found[0].split()) if found else operation["operationId"]
    answers = operation["responses"]
    always = {**_ALWAYS, **(_PROTECTED | _CHECKED if operation["security"] else {})}
    if "requestBody" in operation:
        always |= _WITH_BODY
    if "HTTPValidationError" in str(answers.get("422")):
        del answers["422"]
    for status in always:
        if (own := answers.get(str(status))) is None:
            answers[str(status)] = {"$ref": f"#/components/responses/{_NAMES[status]}"}
        elif MEDIA_TYPE not in own["content"]:
            own["content"] |= _CONTENT
    for answer in answers.values():
        if answer.get("description") == _NAMELESS:
            answer["description"] = _said(answer, schemas) or "Done."
    operation["responses"] = {status: answers[status] for status in sorted(answers)}


def _said(answer: Mapping[str, Any], schemas: Mapping[str, Any]) -> str | None:
    """What the model of an answer says of itself."""
    for content in answer.get("content", {}).values():
        schema = content.get("schema", {})
        name = str(schema.get("$ref") or schema.get("items", {}).get("$ref")).rpartition("/")[2]
        if said := schemas.get(name, {}).get("description"):
            found = _SENTENCE.match(said)
            return f"{'All: ' if 'items' in schema else ''}{' '.join(found[0].split()) if found else said}."
    return None
