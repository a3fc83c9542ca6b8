"""The HTML page that describes the API. It has no scripts and loads nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi.responses import HTMLResponse

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430 }
h2 { margin-top: 2.5rem; text-transform: capitalize } code { font-size: .9em }
section { border-left: 3px solid #d5dbe5; padding: .1rem 1rem; margin: 1rem 0 }
.method { font-weight: 700; color: #0b5cad } table { border-collapse: collapse } td { padding: .1rem 1rem .1rem 0 }
pre { background: #f3f5f8; padding: .5rem 1rem; overflow-x: auto }
@media (prefers-color-scheme: dark) { body { background: #12161c; color: #dde3ec } pre { background: #1c2430 } }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; frame-ancestors 'none'"


def documentation(schema: Mapping[str, Any]) -> HTMLResponse:
    """Returns the OpenAPI document as an HTML page."""
    return HTMLResponse("".join(_page(schema)), headers={"Content-Security-Policy": _POLICY})


def _page(schema: Mapping[str, Any]) -> Iterator[str]:
    title = escape(schema["info"]["title"])
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    yield f"<h1>{title}</h1><p>{escape(schema['info']['description'])}</p>"
    yield '<p>The same for programs: <a href="/openapi.json">openapi.json</a>.</p>'
    always = [one["description"] for one in schema["components"]["responses"].values()]
    yield f"<p>Refusals that every path may answer:</p><ul>{''.join(f'<li>{escape(one)}</li>' for one in always)}</ul>"
    heading = None
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            tag = operation["tags"][0]
            if tag != heading:
                heading = tag
                yield f"<h2>{escape(tag)}</h2>"
            yield from _operation(method.upper(), path, operation, schema)


def _operation(method: str, path: str, operation: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    yield f'<section><p><span class="method">{method}</span> <code>{escape(path)}</code></p>'
    yield f"<p>{escape(operation.get('description', ''))}</p>"
    rows = [(p["name"], p["in"], p.get("description", "")) for p in operation.get("parameters", [])]
    content = operation.get("requestBody", {}).get("content", {})
    for media, body in content.items():
        rows += _fields(media, body.get("schema", {}), schema)
    if rows:
        cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
        yield f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
    answers = [(status, one["description"]) for status, one in operation["responses"].items() if "$ref" not in one]
    yield f"<table>{''.join(f'<tr><td>{status}</td><td>{escape(said)}</td></tr>' for status, said in answers)}</table>"
    example = "curl -H 'Authorization: Bearer TOKEN'" + (f" -X {method}" if method != "GET" else "")
    yield f"<pre>{escape(example)} http://127.0.0.1:9901{escape(path)}</pre></section>"


def _fields(media: str, body: Mapping[str, Any], schema: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    model = schema["components"]["schemas"].get(body.get("$ref", "").rpartition("/")[2], {})
    fields = model.get("properties", {})
    return [(name, media, field.get("description", "")) for name, field in fields.items()] or [("body", media, "")]
