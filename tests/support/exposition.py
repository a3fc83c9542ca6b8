"""The page that Prometheus reads, parsed with Prometheus' own Python client."""

from __future__ import annotations

import subprocess
from typing import Self

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from pylae import Gateway
from support.programs import program


class Page:
    """All samples of a page."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families: dict[str, Metric] = {}
        for family in text_string_to_metric_families(text):
            assert family.name not in self.families, f"{family.name} is there twice"
            self.families[family.name] = family
        samples = [sample for family in self.families.values() for sample in family.samples]
        self.samples = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
        assert len(self.samples) == len(samples), "two samples have the same labels"

    @classmethod
    def of(cls, gateway: Gateway) -> Self:
        """What a running gateway says now."""
        return cls(gateway.metrics())

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have all these labels."""
        wanted = labels.items()
        return sum(value for (found, has), value in self.samples.items() if found == name and wanted <= has)

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Values by these labels, in this order; what they do not tell apart is summed up."""
        found: dict[tuple[str, ...], float] = {}
        for (sample, has), value in self.samples.items():
            if sample == name:
                key = tuple(dict(has)[label] for label in labels)
                found[key] = found.get(key, 0.0) + value
        return found


def promtool(*arguments: str, text: str | None = None) -> str:
    """Runs `promtool` of Debian's package `prometheus` and returns what it printed; it must find nothing wrong."""
    tool = program("promtool", "prometheus")
    done = subprocess.run([tool, *arguments], input=text, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
