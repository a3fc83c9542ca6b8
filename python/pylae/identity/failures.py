"""Why what another server says of a user cannot be used."""

from __future__ import annotations

AWAY = (429, 502, 503, 504)
"""Statuses by which a server says that it, or what is behind it, cannot answer now."""


class AnswerError(Exception):
    """An answer cannot be used. The text says why, and has no value of the answer in it.

    Another question may have a better answer, so this alone is no reason to leave the server alone.
    """


class AwayError(AnswerError):
    """The server says that it cannot answer now."""
