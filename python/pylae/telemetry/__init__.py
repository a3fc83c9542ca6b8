"""What a gateway tells OpenTelemetry collectors: traces, metrics and its access log."""
