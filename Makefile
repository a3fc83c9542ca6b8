# Each target sets up what it needs in .venv; nothing but Python, Rust and make has to be there. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NATIVE_SOURCES := $(shell find crates -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock
# Their table declares these files, which cargo fmt does not follow.
BALANCERS := $(wildcard crates/core/src/service/balance/*.rs)
PEERS ?= floor,pylae,haproxy,nginx,envoy
CHAOS ?=
SOAK_SECONDS ?= 3600
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= $(basename $(notdir $(wildcard fuzz/targets/*.rs)))

.PHONY: help demo test test-rust test-python lint format bench chaos soak fuzz lock clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.release ## Four services with the gateway in front of them (release build); Ctrl-C ends it
	@$(BIN)/pylae demo

test: test-rust test-python ## All tests (development build)

test-rust: ## Tests of the Rust crates, corpora of the fuzz targets included
	cargo test --quiet --workspace --exclude pylae-python

test-python: $(VENV)/.dev ## Tests of the Python package, over real sockets where it matters
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.dev ## Formatting, clippy, ruff, mypy, stubs against the native module
	cargo fmt --check
	rustfmt --check --edition 2024 $(BALANCERS)
	cargo clippy --quiet --workspace --all-targets -- --deny warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest pylae._native --ignore-disjoint-bases

format: $(VENV)/.dependencies ## Format everything
	cargo fmt
	rustfmt --edition 2024 $(BALANCERS)
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: $(VENV)/.release ## CPU time per request against the peers, in one run (PEERS=…); writes bench/results/latest.md
	$(BIN)/python -m bench.run --peers $(PEERS) --half --out bench/results/latest.md

chaos: $(VENV)/.release ## Faults, each with a verdict (CHAOS=name,name picks some); writes chaos/results/latest.md
	$(BIN)/python -m chaos.run --faults '$(CHAOS)' --out chaos/results/latest.md

soak: $(VENV)/.release ## Mixed load for SOAK_SECONDS (3600), memory must not grow; writes chaos/results/soak.md
	$(BIN)/python -m chaos.soak --seconds $(SOAK_SECONDS) --out chaos/results/soak.md

fuzz: ## Fuzz the parsers, FUZZ_SECONDS each (FUZZ_TARGETS=…); finds stay in fuzz/target/corpus
	cargo fuzz --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-fuzz
	@test -n '$(FUZZ_TARGETS)' || { echo 'there is no fuzz target in fuzz/targets' >&2; exit 1; }
	cd fuzz && for target in $(FUZZ_TARGETS); do \
		mkdir -p target/corpus/$$target && \
		cargo fuzz run --sanitizer none $$target target/corpus/$$target corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=4000 || exit 1; \
	done

lock: ## Lock the development dependencies anew
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet 'pip>=25.1' uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --group dev pyproject.toml \
		--output-file requirements-dev.lock

clean: ## Remove what was built
	rm -rf $(VENV) target fuzz/target python/pylae/*.so

$(VENV)/.dependencies: requirements-dev.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements-dev.lock
	touch $@

# One of .dev and .release exists: the build that .venv runs.
$(VENV)/.dev: $(VENV)/.dependencies $(NATIVE_SOURCES) pyproject.toml
	@echo 'building the native module (development profile; some minutes the first time)'
	. $(BIN)/activate && maturin develop --quiet
	rm -f $(VENV)/.release && touch $@

$(VENV)/.release: $(VENV)/.dependencies $(NATIVE_SOURCES) pyproject.toml
	@echo 'building the native module (release profile; some minutes the first time)'
	. $(BIN)/activate && maturin develop --quiet --release
	rm -f $(VENV)/.dev && touch $@
