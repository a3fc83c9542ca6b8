"""How parts of a configuration are shown: as short texts, which are never markup."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

MOST = 2000
"""Characters of a value that are shown."""
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""The one in C, where PyYAML has it, is ten times as fast."""


def written(document: Any) -> str:
    """A document as YAML."""
    return str(yaml.dump(document, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=110))


def value(given: Any) -> str:
    """A value, as YAML if it has parts; nothing for one that is not there."""
    if given is None:
        return ""
    if isinstance(given, str):
        text = given
    else:
        text = written(given).rstrip() if isinstance(given, dict | list) else json.dumps(given)
    return text if len(text) <= MOST else f"{text[:MOST]}…"


def place(setting: Mapping[str, Any]) -> str:
    """Where something was written: `file:line:column`, as far as that is known."""
    return ":".join(str(setting[key]) for key in ("file", "line", "column") if setting.get(key) is not None)


def flaw(problem: Mapping[str, Any]) -> str:
    """A problem, without its place."""
    path, message, hint = (str(problem.get(key) or "") for key in ("path", "message", "hint"))
    return f"{path}: {message}".removeprefix(": ") + (f" ({hint})" if hint else "")
