"""Cookies of sessions and attempts (RFC 6265bis)."""

from __future__ import annotations

from typing import Literal

SameSite = Literal["lax", "strict", "none"]


def cookie(name: str, value: str, *, life: int, secure: bool, same_site: SameSite) -> str:
    """Returns the value of `Set-Cookie` for a cookie that scripts cannot read and no other host gets.

    `life` is in seconds. Without a `Domain` and with this `Path`, its name may begin with `__Host-`.
    """
    parts = [f"{name}={value}", "Path=/", f"Max-Age={life}", "HttpOnly", f"SameSite={same_site.capitalize()}"]
    return "; ".join([*parts, *(["Secure"] if secure else [])])


def deleted(name: str, *, secure: bool, same_site: SameSite) -> str:
    """Returns the value of `Set-Cookie` that deletes such a cookie."""
    return cookie(name, "", life=0, secure=secure, same_site=same_site)
