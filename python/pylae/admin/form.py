"""The form that every request must have, whatever it asks for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Scope

_JSON = re.compile(r"application/([\w.+-]+\+)?json", re.ASCII | re.IGNORECASE)
_SHOWN = 100
"""Most characters of what was sent that a refusal repeats."""


def malformed(scope: Scope, parameters: Mapping[str, bool], *, json: bool) -> HTTPException | None:
    """Returns why a request cannot be meant, or None: a misspelt parameter would do something else, and more.

    Args:
        scope: The request.
        parameters: The parameters that its query may have, and of each whether it may be there several times.
        json: Whether its body, if it has one, must be JSON.
    """
    headers = Headers(scope=scope)
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        coding = headers.get("content-encoding", "identity")
        if coding.lower() != "identity":
            detail = f"bodies with `Content-Encoding: {coding[:_SHOWN]}` are not read; send the body as it is"
            return HTTPException(415, detail, {"Accept-Encoding": "identity"})
        if json and not _JSON.fullmatch(headers.get("content-type", "").partition(";")[0].strip()):
            detail = "the body must be JSON, and say so: `Content-Type: application/json`"
            return HTTPException(415, detail, {"Accept": "application/json"})
    seen: set[str] = set()
    for name, _ in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
        if name not in parameters:
            near = difflib.get_close_matches(name[:_SHOWN], parameters, 1, 0.6)
            known = f"there are {', '.join(sorted(parameters))}" if parameters else "there are none"
            hint = f"; did you mean `{near[0]}`?" if near else ""
            return HTTPException(422, f"the query has no parameter `{name[:_SHOWN]}`; {known}{hint}")
        if name in seen and not parameters[name]:
            return HTTPException(422, f"the query has the parameter `{name}` twice")
        seen.add(name)
    return None
