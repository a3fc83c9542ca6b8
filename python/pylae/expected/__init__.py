"""Requests with what a configuration is expected to decide for them: `pylae test`."""
