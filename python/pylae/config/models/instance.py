"""Instances: the addresses of a service."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Unpack
from urllib.parse import urlsplit

from pydantic import AfterValidator, model_validator

from pylae.config.models.base import Positive, Settings, refusal

if TYPE_CHECKING:
    from pylae.settings.fields import InstanceFields

MOST_INSTANCES = 4096
"""Most instances of a service. The native side has the same limit."""
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9.])?|\[[0-9A-Fa-f:.]+\]")
_PORTS = {"http": 80, "https": 443}


def instance_url(text: str) -> str:
    """Returns the canonical `http://host:port` or `https://host:port`. The default ports are 80 and 443."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise refusal("is not a valid URL", 'write it like "http://host:8000"') from None
    host = url.netloc.rpartition(":")[0] if port is not None else url.netloc.removesuffix(":")
    if "@" in url.netloc:
        raise refusal("the URL of an instance cannot contain a user or password", secret=True)
    if url.scheme not in _PORTS or not _HOST.fullmatch(host) or port == 0:
        raise refusal("is not the URL of an instance", 'write it like "http://host:8000"')
    if url.path not in ("", "/") or url.query or url.fragment:
        raise refusal(
            "the URL of an instance cannot contain a path or query",
            "use `strip_prefix` or `rewrite` of the route to change the path",
        )
    return f"{url.scheme}://{host.lower()}:{port or _PORTS[url.scheme]}"


InstanceUrl = Annotated[str, AfterValidator(instance_url)]
"""`http://host:port` or `https://host:port`."""


class Instance(Settings):
    """An address of a service. A text is short for `url`."""

    short = {"type": "string"}

    url: InstanceUrl
    """`http://host:port`, or `https://host:port` for TLS."""
    weight: Positive = 1
    """Share of the load, relative to the other instances."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[InstanceFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value
