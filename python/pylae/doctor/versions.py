"""Checks the versions of the software."""

from __future__ import annotations

import platform
import ssl
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distributions, version

from pylae.doctor.result import Result, failure, ok

DEPENDENCIES = ("click", "pydantic", "fastapi", "starlette", "uvicorn", "PyYAML", "dnspython")


def facts() -> dict[str, str]:
    """Returns the versions by name, and what installed distributions offer. Missing software has no entry."""
    found = {
        "Pylae": _version("pylae"),
        "engine": _engine(),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "C library": " ".join(platform.libc_ver()).strip(),
        "distribution": _distribution(),
        "OpenSSL of Python": ssl.OPENSSL_VERSION,
        **{name: _version(name) for name in DEPENDENCIES},
        **_offering(),
    }
    return {name: said for name, said in found.items() if said}


def results() -> Iterator[Result]:
    """Checks that the native module fits the package."""
    try:
        from pylae import engine
    except ImportError as error:
        hint = f"reinstall Pylae for this Python ({sys.executable})"
        yield failure("engine", f"the native module cannot be loaded: {error}", hint)
        return
    said, own = engine.build()["version"], _version("pylae")
    if own and said != own:
        yield failure("engine", f"has version {said}, but Pylae has version {own}", "reinstall Pylae")
    else:
        yield ok("engine", _engine())


def _engine() -> str:
    try:
        from pylae import engine
    except ImportError:
        return ""
    build = engine.build()
    return f"{build['version']} ({build['profile']} build, rustls {build['rustls']})"


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _offering() -> dict[str, str]:
    """Distributions with plugins: their versions, and what they offer. Nothing of them is imported."""
    found = {}
    for one in distributions():
        groups: dict[str, list[str]] = {}
        for point in one.entry_points:
            if point.group.startswith("pylae."):
                groups.setdefault(point.group, []).append(point.name)
        if groups:
            offered = (f"{group}: {', '.join(sorted(names))}" for group, names in sorted(groups.items()))
            found[one.name] = f"{one.version} ({'; '.join(offered)})"
    return found


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""
