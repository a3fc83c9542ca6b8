"""The secret that seals cookies where none is configured."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path

from pylae import state

log = logging.getLogger("pylae.auth")

FILE = "cookie-secret"
"""Name of its file in the user's state directory."""
_WHAT = "the secret that seals cookies"


def secret_file() -> Path:
    """Returns the file of the generated secret, in the user's state directory (XDG Base Directory Specification)."""
    return state.home() / FILE


def cookie_secret(*, create: bool) -> str | None:
    """Returns the secret that was generated before, or with `create` generates it; None if there is none.

    If it cannot be stored, a warning is logged and it holds for this run only. Raises ConfigError if other users can
    read or change the file.
    """
    found = state.kept_secret(secret_file(), _WHAT) or _unstored.get(secret_file())
    if found is None and create:
        made = secrets.token_urlsafe(48)
        try:
            found = state.keep_secret(secret_file(), made, _WHAT)
        except OSError as error:
            found = _unstored.setdefault(secret_file(), made)
            log.warning(
                "generated a secret for cookies for this run only, because it cannot be stored in %s (%s); set "
                "`cookie_secret` to your own",
                secret_file(), error.strerror,
            )  # fmt: skip
    return found


_unstored: dict[Path, str] = {}
"""Secrets that could not be stored, by their files. All gateways of the process use the same one."""
