"""Figures by route, from pages of metrics."""

from __future__ import annotations

from typing import Any

from pylae.dashboard.figures.history import Effect, Hour, effect, hour
from pylae.dashboard.figures.routes import RouteFigures, read

DURATION = "pylae_request_duration_seconds"
BOUNDS = ("0.01", "0.1", "1", "+Inf")


def page(**routes: tuple[tuple[int, int, int], tuple[int, ...]]) -> str:
    """A page of metrics: for each route its 2xx, 4xx and 5xx, and how many were as fast as each bound."""
    counts = [
        f'pylae_requests_total{{route="{name}",service="s",method="GET",status="{status}"}} {number}'
        for name, (answers, _) in routes.items()
        for status, number in zip(("2xx", "4xx", "5xx"), answers, strict=True)
    ]
    buckets = [
        line
        for name, (_, durations) in routes.items()
        for line in (
            *(
                f'{DURATION}_bucket{{route="{name}",service="s",method="GET",le="{bound}"}} {number}'
                for bound, number in zip(BOUNDS, durations, strict=True)
            ),
            f'{DURATION}_sum{{route="{name}",service="s",method="GET"}} 1.5',
            f'{DURATION}_count{{route="{name}",service="s",method="GET"}} {durations[-1]}',
        )
    ]
    return "\n".join(
        ("# TYPE pylae_requests_total counter", *counts, "# TYPE x histogram", *buckets, "pylae_workers 2", "")
    )


def test_a_page_is_read() -> None:
    found = read(page(a=((3, 2, 1), (1, 5, 6, 6)), b=((1, 0, 0), (0, 0, 1, 1))), 0.0)
    assert list(found.bounds) == [0.01, 0.1, 1.0, float("inf")]
    assert found.routes["a"].answers == [0, 3, 0, 2, 1]
    assert found.routes["a"].durations == [1, 5, 6, 6]
    assert found.routes["b"].durations == [0, 0, 1, 1]


def test_names_have_any_characters() -> None:
    found = read(page(**{r"a\"b\\c\nd}": ((1, 0, 0), (1, 1, 1, 1))}), 0.0)
    assert list(found.routes) == ['a"b\\c\nd}']


def test_an_exemplar_may_follow_a_value() -> None:
    text = page(a=((1, 0, 0), (1, 1, 1, 1))).replace(
        'le="0.1"} 1', 'le="0.1"} 1 # {trace_id="0af7651916cd43dd8448eb211c80319c"} 0.07 1796030513.1'
    )
    assert read(text, 0.0).routes["a"].durations == [1, 1, 1, 1]


def test_there_is_nothing_before_the_second_reading() -> None:
    figures = RouteFigures()
    figures.add(page(a=((100, 0, 0), (100, 100, 100, 100))), 0.0)
    assert figures.recent() == {}


def test_a_minute_is_what_was_added() -> None:
    figures = RouteFigures()
    figures.add(page(a=((100, 0, 0), (100, 100, 100, 100)), b=((5, 0, 0), (5, 5, 5, 5))), 0.0)
    figures.add(page(a=((106, 2, 2), (104, 108, 110, 110)), b=((5, 0, 0), (5, 5, 5, 5))), 10.0)
    (found,) = figures.recent().items()
    name, recent = found
    assert (name, recent.rate, recent.refused, recent.errors) == ("a", 1.0, 0.2, 0.2)
    assert recent.p50 == 0.01 + (0.1 - 0.01) * 0.25
    assert recent.p99 is not None and 0.1 < recent.p99 <= 1.0


def test_old_readings_are_forgotten() -> None:
    figures = RouteFigures()
    for second in range(0, 200, 10):
        figures.add(page(a=((second, 0, 0), (second, second, second, second))), float(second))
    assert figures.recent()["a"].rate == 1.0
    figures.add(page(a=((190, 0, 0), (190, 190, 190, 190))), 400.0)
    figures.add(page(a=((190, 0, 0), (190, 190, 190, 190))), 470.0)
    assert figures.recent() == {}


def test_a_gateway_that_has_started_again_begins_anew() -> None:
    figures = RouteFigures()
    figures.add(page(a=((1000, 0, 0), (1000, 1000, 1000, 1000))), 0.0)
    figures.add(page(a=((10, 0, 0), (0, 10, 10, 10))), 10.0)
    assert figures.recent()["a"].rate == 1.0


def test_before_and_after_a_change() -> None:
    hour = Hour()
    for second in range(0, 600, 5):
        slow = second > 300
        hour.times.append(float(second))
        hour.rates.append(10.0)
        hour.errors.append(1.0 if slow else 0.0)
        hour.p50.append(0.01)
        hour.p99.append(0.5 if slow else 0.02)
    told = effect(hour, 300.0)
    assert told.p99 == (0.02, 0.5)
    assert told.errors == (0.0, 0.1)
    assert told.worse
    assert not Effect((0.02, 0.021), (0.0, 0.0)).worse
    assert effect(Hour(), 0.0) == Effect((None, None), (None, None))


class Told:
    """A gateway whose timeline is known."""

    def __init__(self, *readings: tuple[float, float]) -> None:
        times, p99 = zip(*readings, strict=True)
        columns = {"requests": [5] * len(times), "errors": [0] * len(times), "p50": p99, "p99": p99}
        self._timeline = {"interval": 5.0, "times": times, "gateway": columns}

    def value(self, _topic: str) -> Any:
        """Its timeline."""
        return self._timeline


def test_what_was_read_just_before_a_change_is_before_it() -> None:
    nodes: Any = [Told((102.9, 0.02), (107.9, 0.02), (117.9, 0.5))]
    assert hour(nodes).times == [102.9, 107.9, 117.9]
    assert effect(hour(nodes), 103.0).p99 == (0.02, 0.5)


def test_gateways_are_read_at_times_of_their_own() -> None:
    nodes: Any = [Told((103.0, 0.02), (108.0, 0.03)), Told((104.0, 0.01), (109.0, 0.3))]
    told = hour(nodes)
    assert (told.times, told.p99, told.rates) == ([104.0, 109.0], [0.02, 0.3], [2.0, 2.0])
