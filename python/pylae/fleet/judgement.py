"""Whether a configuration does worse than the one before, by the figures of the node that has it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pylae.fleet.figures import Figures

Kind = Literal["good", "bad", "unobserved"]

SLOWER = 2.0
"""How many times as long the slowest hundredth may take."""
_TAIL = 0.01
"""The share of requests that are slower than the 99th percentile."""
_MOST_TIMED = 1000
"""Durations that are enough, however many requests are asked for: a node reads 64 of each second and worker."""
_SIGMAS = 3.0
"""How far beyond chance it must be before the time is over. It is looked at once a second, so that chance has many
tries; at the end it has one."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a configuration says of its own roll-out (`pylae.fleet.settings`). `observe` is in seconds."""

    observe: float
    max_errors: float
    min_requests: int


@dataclass(frozen=True, slots=True)
class Baseline:
    """What it is compared with. `whose` are words for people: the other nodes, or the node itself before."""

    figures: Figures
    whose: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found, in a sentence."""

    kind: Kind
    text: str


def baseline_of(others: Figures, before: Figures, bounds: Bounds) -> Baseline:
    """Returns what to compare with: the other nodes in the same time, or, if they had too little, the node before."""
    if others.requests >= bounds.min_requests:
        return Baseline(others, "the other nodes")
    return Baseline(before, "this node before")


def judge(seen: Figures, baseline: Baseline, bounds: Bounds, *, final: bool) -> Judgement | None:
    """Judges what the first node has answered since it has the configuration; None if it is too early.

    Before the end (`final`), only what can hardly be chance counts.
    """
    if seen.requests >= bounds.min_requests:
        allowed = baseline.figures.error_rate + bounds.max_errors
        if _exceeds(seen.errors, seen.requests, allowed, final):
            return Judgement("bad", _errors(seen, baseline))
    enough = min(bounds.min_requests, _MOST_TIMED)
    usual = baseline.figures.p99
    if usual is not None and baseline.figures.timed >= enough and seen.timed >= enough:
        slow = seen.longer_than(SLOWER * usual)
        if _exceeds(slow, seen.timed, _TAIL, final):
            text = f"1 % of the requests took {_time(seen.p99)} or more; {baseline.whose}: {_time(usual)}"
            return Judgement("bad", text)
    if not final:
        return None
    if seen.requests < bounds.min_requests:
        text = f"unobserved: {seen.requests} requests within {bounds.observe:g} s, {bounds.min_requests} are needed"
        return Judgement("unobserved", text)
    return Judgement("good", _errors(seen, baseline))


def _exceeds(count: int, of: int, share: float, final: bool) -> bool:
    spread = 0.0 if final else _SIGMAS * math.sqrt(of * share * max(0.0, 1 - share))
    return count > of * share + spread


def _errors(seen: Figures, baseline: Baseline) -> str:
    usual = baseline.figures
    compared = f"{usual.error_rate:.1%} of {usual.requests}" if usual.requests else "no requests"
    return f"{seen.error_rate:.1%} of {seen.requests} answers were 5xx; {baseline.whose}: {compared}"


def _time(seconds: float | None) -> str:
    return "?" if seconds is None else f"{seconds * 1e3:.3g} ms"
