# Each target sets up what it needs in .venv. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUST_SOURCES := $(shell find crates -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock
PYTHON_META := pyproject.toml requirements-dev.lock

.PHONY: help demo test test-rust test-python lint fmt bench fuzz docs clean

help: ## List the targets.
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.installed: requirements-dev.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.lock
	touch $@

$(VENV)/.built-dev: $(VENV)/.installed $(RUST_SOURCES) pyproject.toml
	. $(BIN)/activate && maturin develop --quiet --skip-install
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --config-settings=build-args="--profile dev" --editable .
	rm -f $(VENV)/.built-release
	touch $@
