"""OpenMetrics: who asks for it gets it, with a trace beside each bucket; everybody else gets what they always got."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Exemplar

from support.admin import Admin
from support.exposition import Page
from support.instance import EchoInstance, RawInstance
from support.otlp import Sink
from support.peer import wait_until

Start = Callable[..., Admin]
OPEN = "application/openmetrics-text"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def sink() -> Iterator[Sink]:
    """Takes what the gateway sends."""
    with Sink() as made:
        yield made


def families_of(page: str) -> Iterator[Metric]:
    """What a page says, by the strict parser of OpenMetrics, which finds nothing wrong with it."""
    yield from text_string_to_metric_families(page)  # type: ignore[no-untyped-call]


def exemplars(api: Admin) -> dict[tuple[str, str], Exemplar]:
    """The exemplars of the page by route and bound."""
    answer = api.http.get("/metrics", headers={"Accept": OPEN})
    assert answer.text.endswith("# EOF\n")
    found = {}
    for family in families_of(answer.text):
        for sample in family.samples:
            if sample.exemplar is not None:
                assert sample.name == "pylae_request_duration_seconds_bucket"
                found[sample.labels["route"], sample.labels["le"]] = sample.exemplar
    return found


def counted(api: Admin, requests: int) -> None:
    """Waits until so many are counted: an answer may arrive a moment before."""
    wait_until(lambda: Page.of(api.running.gateway).value("pylae_requests_total") == requests)


@pytest.mark.parametrize(
    ("accept", "is_open"),
    [
        (OPEN, True),
        (PROMETHEUS, True),
        ("application/openmetrics-text; version=1.0.0; escaping=allow-utf-8; q=0.6, text/plain;q=0.5", True),
        ('Application/OpenMetrics-Text ; Version="1.0.0"', True),
        ("text/plain;q=0.5, application/openmetrics-text;q=0.5", True),
        ("text/plain, application/openmetrics-text;q=0.9", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=2", False),
        ("application/openmetrics-text;q=nan", False),
        ("application/openmetrics-text;version=2.0.0", False),
        ("application/openmetrics-text;version=0.0.1", False),
        ("*/*", False),
        ("application/*", False),
        ("text/html,application/xhtml+xml", False),
        ("", False),
        (";;;,,;=;", False),
        ("text/html," * 100 + OPEN, False),
    ],
)
def test_only_who_prefers_it_gets_it(admin: Start, echo: EchoInstance, accept: str, is_open: bool) -> None:
    with admin(all=echo) as api:
        answer = api.http.get("/metrics", headers={"Accept": accept})
        assert answer.headers["content-type"] == (f"{OPEN}; version=1.0.0; charset=utf-8" if is_open else TEXT)
        assert answer.headers["vary"] == "Accept"
        assert answer.text.endswith("# EOF\n") == is_open


def test_both_formats_say_the_same(admin: Start, echo: EchoInstance) -> None:
    """But for what changes from one look to the next."""
    with admin("routes: [{name: 'a \"b\" \\ {c}', path: /a, service: all}]", all=echo) as api:
        for path in ("/a", "/a", "/nowhere"):
            api.running.get(path)
        counted(api, 3)
        pages = [api.http.get("/metrics", headers={"Accept": accept}).text for accept in ("text/plain", OPEN)]
    changing = re.compile("process_|pylae_connections|pylae_overload_used|.*_time(stamp)?_seconds$")
    plain = {
        (name, tuple(sorted(dict(labels).items()))): value
        for (name, labels), value in Page(pages[0]).samples.items()
        if not changing.match(name)
    }
    open_, families = {}, {}
    for family in families_of(pages[1]):
        families[family.name] = family.type
        for sample in family.samples:
            labels = dict(sample.labels)
            if "le" in labels and labels["le"] != "+Inf":
                # The same bound in the spelling of the other format.
                labels["le"] = f"{float(labels['le']):.5f}".rstrip("0").rstrip(".")
            if not changing.match(sample.name):
                open_[sample.name, tuple(sorted(labels.items()))] = sample.value
    assert open_ == plain
    assert families["pylae_requests"] == "counter"
    assert families["pylae_request_duration_seconds"] == "histogram"
    assert "unknown" not in families.values()


def test_without_traces_there_are_no_exemplars(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api:
        api.running.get("/", f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01")
        counted(api, 1)
        assert exemplars(api) == {}


def test_a_bucket_has_the_latest_sampled_request_and_not_one_that_is_not_sampled(
    admin: Start, echo: EchoInstance, sink: Sink
) -> None:
    config = f"telemetry: {{traces: {{endpoint: '{sink.url}'}}}}"
    with admin(config, all=echo) as api:
        api.running.get("/", f"traceparent: 00-{'a' * 32}-00f067aa0ba902b7-01")
        wait_until(lambda: exemplars(api))
        first = exemplars(api)
        assert {one.labels["trace_id"] for one in first.values()} == {"a" * 32}
        api.running.get("/", f"traceparent: 00-{TRACE}-00f067aa0ba902b7-00")
        counted(api, 2)
        assert exemplars(api) == first
        for _ in range(5):
            api.running.get("/", f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01")
        wait_until(lambda: TRACE in {one.labels["trace_id"] for one in exemplars(api).values()})
        found = exemplars(api)
        for (route, bound), one in found.items():
            assert route == "all"
            assert set(one.labels) == {"trace_id", "span_id"}
            assert re.fullmatch("[0-9a-f]{16}", one.labels["span_id"])
            assert one.labels["span_id"] not in ("00f067aa0ba902b7", "0" * 16)
            assert one.value <= float(bound)
            assert one.timestamp is not None
        # Nobody else sees any of it.
        assert "trace_id" not in api.http.get("/metrics").text


def test_an_exemplar_is_in_a_bucket_that_has_counted_it(admin: Start, instance: RawInstance, sink: Sink) -> None:
    config = f"telemetry: {{traces: {{endpoint: '{sink.url}'}}}}"
    with admin(config, all=instance) as api:
        for _ in range(3):
            assert api.running.get("/").status == 200
        counted(api, 3)
        wait_until(lambda: exemplars(api))
        found = exemplars(api)
        page = api.http.get("/metrics", headers={"Accept": OPEN}).text
        counts = {}
        for family in families_of(page):
            for sample in family.samples:
                if sample.name == "pylae_request_duration_seconds_bucket" and sample.labels["route"] == "all":
                    counts[float(sample.labels["le"])] = sample.value
        bounds = sorted(counts)
        for _, bound in found:
            index = bounds.index(float(bound))
            assert counts[bounds[index]] > (counts[bounds[index - 1]] if index else 0)


def test_what_the_tail_rule_keeps_is_an_exemplar(admin: Start, dead_url: str, echo: EchoInstance, sink: Sink) -> None:
    config = f"""
        telemetry: {{traces: {{endpoint: '{sink.url}', ratio: 0, keep: {{errors: true}}}}}}
        routes: [{{name: well, path: /well, service: all}}, {{name: ill, path: /ill, service: dead}}]
    """
    with admin(config, all=echo, dead=dead_url) as api:
        assert [api.running.get(path).status for path in ("/well", "/ill")] == [200, 502]
        counted(api, 2)
        wait_until(lambda: exemplars(api))
        assert {route for route, _ in exemplars(api)} == {"ill"}
