"""What receives telemetry: a sink for OTLP that a test can look into and make fail, and a real collector."""

from __future__ import annotations

from support.otlp.received import Export, LogRecord, Point, Span
from support.otlp.replies import Accept, Close, Hang, Refuse, Reply
from support.otlp.sink import Sink

__all__ = ["Accept", "Close", "Export", "Hang", "LogRecord", "Point", "Refuse", "Reply", "Sink", "Span"]
