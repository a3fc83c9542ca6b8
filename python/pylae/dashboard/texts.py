"""How values are shown: as short texts, which are never markup."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import yaml

MOST = 2000
"""Characters of a value that are shown."""


def moment(text: str | None) -> str:
    """A time of the admin API, in UTC, to the second."""
    if not text:
        return ""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def shown(value: Any) -> str:
    """A value of a configuration, as YAML if it has parts; nothing for one that is not there."""
    if value is None:
        return ""
    if isinstance(value, str):
        text = value
    elif isinstance(value, dict | list):
        text = yaml.dump(value, Dumper=DUMPER, sort_keys=False, allow_unicode=True, width=100).rstrip()
    else:
        text = json.dumps(value)
    return text if len(text) <= MOST else f"{text[:MOST]}…"


def place(setting: Mapping[str, Any]) -> str:
    """Where something was written: `file:line:column`, as far as that is known."""
    return ":".join(str(setting[key]) for key in ("file", "line", "column") if setting.get(key) is not None)


def flaw(problem: Mapping[str, Any]) -> str:
    """A problem of a configuration, without its place."""
    path, message, hint = (str(problem.get(key) or "") for key in ("path", "message", "hint"))
    return f"{path}: {message}".removeprefix(": ") + (f" ({hint})" if hint else "")


def count(number: int, one: str, several: str | None = None) -> str:
    """A number of things."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def size(number: int) -> str:
    """A number of bytes."""
    return f"{number / 1e6:,.1f} MB" if number >= 1e5 else f"{number / 1e3:,.1f} KB"


def listed(names: Iterable[str]) -> str:
    """Names, one after the other."""
    return ", ".join(names)


DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""Writes YAML: the one in C, where PyYAML has it, is ten times as fast."""
