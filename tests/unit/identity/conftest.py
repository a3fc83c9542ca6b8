"""What tests of logins share: a store, and settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pylae.engine import NativeSealer
from pylae.identity.login.records import Records
from pylae.settings import StoreSettings
from pylae.store.kept import Kept


@pytest.fixture
def sealer() -> NativeSealer:
    return NativeSealer([b"a secret of thirty-two bytes, at least"])


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """The store of a gateway of its own."""
    kept = Kept(StoreSettings(), tmp_path, tmp_path)
    yield kept
    kept.close()


@pytest.fixture
def records(kept: Kept, sealer: NativeSealer) -> Records:
    return Records(kept, sealer, "oidc")
