"""Where a browser goes after a login: to a path of the same origin, and nowhere else."""

from __future__ import annotations

import re
from urllib.parse import unquote

MOST = 1024
"""Characters of the path with its query."""
HOME = "/"
"""Where it goes if the path cannot be used."""

_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")
_DOTS = (".", "..")


def is_path(text: object) -> bool:
    """Whether a text is a path of the same origin for every browser, as a gateway itself writes paths.

    It begins with one `/`, and has no `\\`, no spaces or control characters, and nothing but ASCII (URL Standard,
    "relative state": browsers drop tabs and line ends, and read `\\` as `/`). It has no segments `.` and `..`, which
    could lead to `//`.
    """
    if not isinstance(text, str) or len(text) > MOST or not _PATH.fullmatch(text):
        return False
    path = re.split(r"[?#]", text, maxsplit=1)[0]
    return not any(unquote(segment).partition(";")[0] in _DOTS for segment in path.split("/"))


def path_or_home(text: object, own: str) -> str:
    """Returns a path to return to, or `/`. The paths below `own`, of the login itself, are none."""
    if not isinstance(text, str) or not is_path(text) or text == own or text.startswith((f"{own}/", f"{own}?")):
        return HOME
    return text
