"""The token of the admin API. It is configured, or generated at the first start and stored for its owner only."""

from __future__ import annotations

import logging
import re
import secrets
from pathlib import Path

from pylae import state
from pylae.config.models.admin import Admin
from pylae.errors import ConfigError, Problem

log = logging.getLogger("pylae.admin")

WHAT = "the token of the admin API"
_TOKEN = re.compile(r"[!-~]{16,512}")


def token_file(settings: Admin, folder: Path, base: Path) -> Path:
    """Returns the file with the token. `base` is the folder that paths in the configuration are relative to."""
    if settings.token_file is None:
        return folder / "admin-token"
    return base / Path(settings.token_file).expanduser()


def token_of(settings: Admin, file: Path, *, create: bool) -> str | None:
    """Returns the configured token, or the one in `file`. Generates it if there is none and `create` is true.

    If a crash has damaged the gateway's own file, it is replaced, and the log says so. Raises ConfigError if other
    users can read the file, or if `token_file` names a file without a token. Raises OSError if the file cannot be
    written.
    """
    if settings.token is not None:
        return settings.token.get_secret_value()
    found = state.kept_secret(file, WHAT)
    if found is None and file.is_file():
        # The file exists and is empty.
        found = ""
    if found is not None and not _TOKEN.fullmatch(found):
        message = "does not contain a token, which is 16 to 512 visible ASCII characters"
        if settings.token_file is not None or not create:
            raise ConfigError([Problem(str(file), None, None, "", message, "remove the file to generate a new token")])
        log.warning("%s %s: generating a new one", file, message)
        state.remove(file)
        found = None
    if found is None and create:
        found = state.keep_secret(file, secrets.token_urlsafe(32), WHAT)
    return found
