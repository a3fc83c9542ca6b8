"""The token of the admin API: configured, or generated at the first start and kept for its owner only."""

from __future__ import annotations

import logging
import re
import secrets
from pathlib import Path

from pylae import state
from pylae.config.models.admin import Admin
from pylae.errors import ConfigError, Problem

log = logging.getLogger("pylae")

WHAT = "the token of the admin API"
_TOKEN = re.compile(r"[!-~]{16,512}")


def token_file(settings: Admin, folder: Path, base: Path) -> Path:
    """The file that holds the token; `base` is the folder that paths in the configuration are relative to."""
    if settings.token_file is None:
        return folder / "admin-token"
    return base / Path(settings.token_file).expanduser()


def token_of(settings: Admin, file: Path, *, create: bool) -> str | None:
    """The configured token, or the one in `file`, which is generated if there is none and `create` says so.

    What a crash has left in the gateway's own file is replaced, which is logged. Raises ConfigError if others can read
    the file or what the file that `token_file` names holds is no token, OSError if it cannot be written.
    """
    if settings.token is not None:
        return settings.token.get_secret_value()
    found = state.kept_secret(file, WHAT)
    if found is None and file.is_file():
        # It is there and empty.
        found = ""
    if found is not None and not _TOKEN.fullmatch(found):
        message = "does not hold a token, which is 16 to 512 visible ASCII characters"
        if settings.token_file is not None or not create:
            raise ConfigError([Problem(str(file), None, None, "", message, "remove it to have one generated")])
        log.warning("%s %s: another one is generated", file, message)
        state.remove(file)
        found = None
    if found is None and create:
        found = state.keep_secret(file, secrets.token_urlsafe(32), WHAT)
    return found
