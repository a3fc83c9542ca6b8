"""Judgement of a configuration by the figures of the node that has it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pylae.fleet.figures import MOST_BUCKETS, Figures, bucket_of
from pylae.fleet.judgement import Baseline, Bounds, baseline_of, judge

BOUNDS = Bounds(observe=30, max_errors=0.01, min_requests=100)


def figures(requests: int, errors: int = 0, seconds: float = 0.1, slow: int = 0) -> Figures:
    """So many requests, of which `slow` took ten times as long."""
    durations = {bucket_of(seconds): requests - slow, bucket_of(10 * seconds): slow}
    return Figures(requests, errors, {bucket: count for bucket, count in durations.items() if count})


def kind(seen: Figures, usual: Figures, *, final: bool = True) -> str | None:
    found = judge(seen, Baseline(usual, "the other nodes"), BOUNDS, final=final)
    return found.kind if found else None


@pytest.mark.parametrize(
    ("seen", "usual", "verdict"),
    [
        (figures(100), figures(1000), "good"),
        (figures(99), figures(1000), "unobserved"),
        (figures(99, errors=99), figures(1000), "unobserved"),
        (figures(100, errors=1), figures(1000), "good"),
        (figures(100, errors=2), figures(1000), "bad"),
        # It is compared with what is usual.
        (figures(100, errors=6), figures(1000, errors=50), "good"),
        (figures(100, errors=7), figures(1000, errors=50), "bad"),
        # One in a hundred may be slow, as 99 % are not.
        (figures(100, slow=1), figures(1000), "good"),
        (figures(100, slow=2), figures(1000), "bad"),
        (figures(1000, seconds=0.19), figures(1000, seconds=0.1), "good"),
        (figures(1000, seconds=0.25), figures(1000, seconds=0.1), "bad"),
        (figures(1000, seconds=0.25), figures(1000, seconds=0.1, slow=20), "good"),
        # With nothing to compare with, the bound itself counts, and nothing is slow.
        (figures(100, errors=1, seconds=60), Figures(), "good"),
        (figures(100, errors=2), Figures(), "bad"),
        (figures(1000, seconds=60), figures(99, seconds=0.001), "good"),
    ],
)
def test_the_end_of_an_observation(seen: Figures, usual: Figures, verdict: str) -> None:
    assert kind(seen, usual) == verdict


@pytest.mark.parametrize(
    ("seen", "usual", "verdict"),
    [
        (figures(99, errors=99), figures(1000), None),
        (figures(100, errors=10), figures(1000), "bad"),
        # That may be chance.
        (figures(100, errors=3), figures(1000), None),
        (figures(100, slow=3), figures(1000), None),
        (figures(100, slow=50), figures(1000), "bad"),
        (figures(1000), figures(1000), None),
    ],
)
def test_before_the_end_only_what_is_beyond_chance_counts(seen: Figures, usual: Figures, verdict: str | None) -> None:
    assert kind(seen, usual, final=False) == verdict


def test_what_is_said() -> None:
    usual = Baseline(figures(400, errors=2, seconds=0.02), "the other nodes")
    bad = judge(figures(200, errors=20), usual, BOUNDS, final=False)
    assert bad is not None
    assert bad.text == "10.0% of 200 answers were 5xx; the other nodes: 0.5% of 400"
    slow = judge(figures(200, errors=1, seconds=0.2), usual, BOUNDS, final=True)
    assert slow is not None
    assert slow.text == "1 % of the requests took 195 ms or more; the other nodes: 19.7 ms"
    few = judge(figures(7), usual, BOUNDS, final=True)
    assert few is not None and few.text == "unobserved: 7 requests within 30 s, 100 are needed"


def test_others_count_if_they_have_enough() -> None:
    assert baseline_of(figures(100), figures(5000), BOUNDS).whose == "the other nodes"
    assert baseline_of(figures(99), figures(5000), BOUNDS).whose == "this node before"


def test_the_same_as_before_is_seldom_taken_for_worse() -> None:
    """A look each second, for 30 s, at a service of which 0.5 % fail, and whose slowest are far apart."""
    chance = random.Random(1)
    usual = figures(5000, errors=25)
    taken_back = 0
    for _ in range(300):
        requests = errors = 0
        for second in range(30):
            requests += 20
            errors += sum(chance.random() < 0.005 for _ in range(20))
            if kind(Figures(requests, errors), usual, final=second == 29) == "bad":
                taken_back += 1
                break
    assert taken_back < 15


FIGURES = st.builds(
    Figures,
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.dictionaries(st.integers(0, MOST_BUCKETS), st.integers(1, 10**6), max_size=20),
)


@given(FIGURES, FIGURES)
def test_figures_of_a_time_are_a_difference(before: Figures, meanwhile: Figures) -> None:
    after = before + meanwhile
    assert after - before == Figures(meanwhile.requests, meanwhile.errors, meanwhile.durations)
    assert Figures.of(after.as_dict()) == Figures(after.requests, after.errors, dict(after.durations))


@given(st.lists(st.floats(1e-5, 3000), min_size=1, max_size=300))
def test_the_percentile_is_right_to_some_per_cent(seconds: list[float]) -> None:
    counted = Figures(len(seconds), 0, {})
    for one in seconds:
        counted += Figures(0, 0, {bucket_of(one): 1})
    exact = sorted(seconds)[-(-len(seconds) * 99 // 100) - 1]
    assert counted.p99 is not None
    assert exact / 1.06 <= counted.p99 <= exact * 1.06


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"durations": {"x": 1}},
        {"requests": -1, "errors": 0, "durations": {}},
        {"requests": True, "errors": 0, "durations": {}},
        {"requests": 0, "errors": 0, "durations": {"999": 1}},
        {"requests": 0, "errors": 0, "durations": {str(bucket): 1 for bucket in range(600)}},
    ],
)
def test_what_is_no_figures(value: object) -> None:
    with pytest.raises(ValueError, match=r"figures|invalid literal"):
        Figures.of(value)
