"""Suites of others, run against the gateway. `python -m conformance.run --help`; `conformance/README.md`."""
