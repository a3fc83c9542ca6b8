"""A real OpenTelemetry collector, built from its Go modules.

It passes on what it receives, so that a test looks at it in a sink:

    with Sink() as sink, Collector(folder, sink.url) as collector:
        running = gateway({"telemetry": {"traces": {"endpoint": collector.http}}, …})
"""

from support.collector.process import Collector

__all__ = ["Collector"]
