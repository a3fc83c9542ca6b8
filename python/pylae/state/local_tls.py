"""`tls: auto`: a certificate for this machine, for development. It is created if there is none."""

from __future__ import annotations

import logging
import re
import ssl
import time
from datetime import timedelta
from pathlib import Path

from pylae import state

FILES = ("localhost.pem", "localhost-ca.pem")
"""Files in the user's state directory: the key with its certificates, and the authority."""
_GOOD = timedelta(days=365)
"""Age at which the certificate is replaced, a month before it expires."""
_WHAT = "the key of the certificate for this machine"
_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)
_CONSTRAINED_TO_ADDRESSES = bytes.fromhex("8708 7f000000 ff000000")
"""The name constraints of authorities from earlier versions: 127.0.0.0/8, in DER (RFC 5280 section 4.2.1.10).
BoringSSL, which gRPC clients and Envoy use, refuses every chain with a constraint on addresses."""

log = logging.getLogger("pylae.tls")


def authority_file() -> Path:
    """Returns the file of the authority that clients must trust. Its private key is not stored."""
    return state.home() / FILES[1]


def bundle(*, create: bool) -> str:
    """Returns key, certificate and authority in PEM, for `localhost`, 127.0.0.1 and ::1.

    They are kept in the user's state directory, in a file that only its owner can read. Without `create`, nothing is
    written; if nothing is stored yet, they are made for this call only. Certificates of earlier versions that some
    clients refuse are replaced. Raises ConfigError if other users can read the file.
    """
    file = state.home() / FILES[0]
    kept = state.kept_secret(file, _WHAT)
    refused = kept is not None and _is_refused(kept)
    if kept is not None and not refused and time.time() - file.stat().st_mtime < _GOOD.total_seconds():
        return kept
    made = _made()
    if not create:
        return kept or made
    if refused:
        log.warning(
            "the certificate for this machine was replaced, because gRPC clients refuse the authority of the old one; "
            "clients that trusted the old one must now trust %s",
            authority_file(),
        )
    try:
        if kept is None:
            made = state.keep_secret(file, made, _WHAT)
        else:
            state.write(file, made.encode())
        state.write(authority_file(), _BLOCK.findall(made + "\n")[-1].encode())
    except OSError as error:
        log.warning(
            "created a certificate for this run only, because it cannot be stored in %s (%s)", file, error.strerror
        )
    return made


def _is_refused(bundle: str) -> bool:
    authority = _BLOCK.findall(bundle + "\n")[-1:]
    return any(_CONSTRAINED_TO_ADDRESSES in ssl.PEM_cert_to_DER_cert(block) for block in authority)


def _made() -> str:
    from pylae import engine

    authority, certificate, key = engine.local_certificate()
    return (key + certificate + authority).replace("\r", "").strip()
