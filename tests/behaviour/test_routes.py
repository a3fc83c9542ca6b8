"""Which of several routes takes a request, as clients meet it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.instance import EchoInstance
from support.running import Running

ROUTES = """
auth: {jwt: {secret: a secret of more than thirty-two bytes, algorithms: HS256}}
routes:
  - {name: files, prefix: /files, service: all, auth_required: false}
  - {name: keys, pattern: '^/files/.*\\.key$', service: all}
  - {name: known, path: "/files/{name}.pem.key", service: all, auth_required: false}
  - {name: exactly, path: /files/public.key, service: all, auth_required: false}
"""


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/files/a.txt", 200),
        ("/files/a.key", 401),
        ("/files/a/b.key", 401),
        ("/files;x/a.key;y", 401),
        ("/files/a.pem.key", 200),
        ("/files/public.key", 200),
    ],
)
def test_a_pattern_goes_before_a_prefix(
    target: str, status: int, gateway: Callable[..., Running], echo: EchoInstance
) -> None:
    assert gateway(ROUTES, all=echo).get(target).status == status
