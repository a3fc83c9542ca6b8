"""Faults that a gateway has to survive, each with a verdict. `python -m chaos.run --help`; `chaos/README.md`."""
