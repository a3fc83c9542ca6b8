"""What a gateway says in its log about what nobody has written."""

from __future__ import annotations

import logging
import os

from pylae import auth
from pylae.config.builder import ConfigBuilder
from pylae.config.models.config import has_authenticator, requires_users
from pylae.runtime.privileges import Account
from pylae.state import local_tls

log = logging.getLogger("pylae.config")


def root(account: Account | None) -> None:
    """Warns if the gateway is root's and stays so. `account` is the user that it becomes."""
    if account is None and os.geteuid() == 0:
        log.warning("the gateway and all hooks run as root; `user: NAME` drops root once the listeners are open")


def signing(builder: ConfigBuilder) -> None:
    """Says which secret signs tokens if the configuration names none."""
    config = builder.config
    if has_authenticator(config) or not requires_users(config):
        return
    name = next((name for name in auth.VARIABLES if os.environ.get(name)), None)
    whence = f"the environment variable {name}" if name else str(auth.secret_file())
    log.info(
        "no authenticator is configured: the gateway accepts tokens that are signed with the secret in %s; "
        "`pylae token --user ID --role ROLE` makes one",
        whence,
    )


def trust(builder: ConfigBuilder) -> None:
    """Says what clients must trust if a certificate was made for this machine."""
    written = builder.written
    spoken = [listener.tls for listener in written.listeners]
    if any(tls and tls.auto for tls in (*spoken, *([written.admin.tls] if written.admin else []))):
        log.info(
            "TLS with a certificate for localhost, for development; clients trust it by %s: "
            "curl --cacert FILE, or add it to the authorities of the browser or the system",
            local_tls.authority_file(),
        )
