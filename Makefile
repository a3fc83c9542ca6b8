# Each target sets up what it needs in .venv; nothing but Python, Rust and make has to be there. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGING := $(VENV)/packaging
NATIVE_SOURCES := $(shell find crates -name '*.rs' -o -name '*.lua' -o -name Cargo.toml) Cargo.toml Cargo.lock
# Their table declares these files, which cargo fmt does not follow.
BALANCERS := $(wildcard crates/core/src/service/balance/*.rs)
PEERS ?= floor,pylae,haproxy,nginx,envoy
CHAOS ?=
# What `make build` builds and `make bench` measures: `release`, or `release-dev`, which is built sooner.
PROFILE ?= release
# Which wheel `make wheel` builds: the oldest Linux that it is for, as PyPI names it.
PLATFORM ?= manylinux2014
TARGET ?= $(shell uname -m)-unknown-linux-$(if $(findstring musllinux,$(PLATFORM)),musl,gnu)
# Zig would link an unwinder of its own. A thread that the interpreter ends at exit (pthread_exit, before Python 3.14) is
# unwound by that of the system, and two unwinders on one stack crash.
UNWINDER = $(if $(findstring musllinux,$(PLATFORM)),,-C link-arg=$(shell cc -print-file-name=libgcc_s.so.1))
SOAK_SECONDS ?= 3600
FUZZ_SECONDS ?= 60
# In how many processes `make test-python` runs all tests: one more than cores, as many tests wait. Those of a module
# share what it has set up, such as the findings of a type checker. If one of the processes dies, the run ends.
WORKERS ?= $(shell expr $$(nproc) + 1)
PARALLEL = --numprocesses=$(WORKERS) --dist=loadscope --max-worker-restart=0
# The OpenID provider of the tests, which Node runs; where there is no npm, its tests are skipped.
PROVIDER := tests/support/oidc_provider
INSTALLED_PROVIDER := $(PROVIDER)/node_modules/.package-lock.json
# The collector of the tests, a program in Go; where there is no Go, its tests are skipped.
COLLECTOR := tests/support/collector/collector
# The programs of `make conformance`, in Go.
CONFORMANCE := conformance/bin/.built
SUITES ?=
# Cargo builds the crates once, for its tests and for the module, where both resolve to the same features.
LIKE_TESTS := --features pyo3/abi3-py311,features-of-tests
# With how many seeds `make test-long` tries each test of the simulated cluster.
SEEDS ?= 20000
CARGO_DENY := 0.20.2
DENY ?= licenses bans sources
LOCK = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header
FUZZ_TARGETS ?= $(basename $(notdir $(wildcard fuzz/targets/*.rs)))

# Tests start interpreters by the hundred, each of which would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo cluster build test test-rust test-python test-long screenshots test-install test-wheel lint deny format bench bench-quick conformance chaos soak fuzz wheel licenses lock clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.release ## Four services with the gateway in front of them (release build); Ctrl-C ends it
	@$(BIN)/pylae demo

cluster: $(VENV)/.release ## The same behind three gateways that share their limits through a store, which it starts
	@$(BIN)/pylae demo --nodes 3

build: $(VENV)/.$(PROFILE) ## The native module in .venv (PROFILE=release, release-dev or dev)

test: test-rust test-python ## All tests (development build)

# Those of the proxy wait more than they work.
test-rust: export RUST_TEST_THREADS ?= $(shell expr 4 \* $$(nproc))
test-rust: $(VENV)/.dependencies ## Tests of the Rust crates, corpora of the fuzz targets included
	cargo test --quiet --workspace

test-python: $(VENV)/.dev $(if $(shell command -v npm),$(INSTALLED_PROVIDER)) ## Tests of the Python package, over real sockets where it matters (WORKERS=… or PYTEST_ARGS=…)
	$(BIN)/python -m pytest $(or $(PYTEST_ARGS),$(PARALLEL))

# pytest ends with 5 if no test has the mark.
test-long: $(VENV)/.dev $(if $(shell command -v go),$(COLLECTOR)) ## Tests that take minutes: many simulated clusters (SEEDS=…), and the mark `long`
	PYLAE_CLUSTER_SEEDS=$(SEEDS) cargo test --quiet --workspace --test cluster_simulation -- --include-ignored
	$(BIN)/python -m pytest -m long $(PYTEST_ARGS) || test $$? -eq 5

screenshots: $(VENV)/.dev ## The pictures of the guide to the dashboard, taken anew in Debian's Chromium
	PYTHONPATH=tests $(BIN)/python tests/dashboard/pictures.py docs/guide/dashboard

test-install: $(VENV)/.dependencies ## A development wheel in an empty environment: install, check, demo
	. $(BIN)/activate && maturin build --quiet --locked --profile dev $(LIKE_TESTS) --compatibility linux --out target/wheels/dev
	$(PYTHON) release/try_wheel.py $$(ls -t target/wheels/dev/*.whl | head -1)

test-wheel: wheel ## The wheel in an empty environment, and all tests of Python against it (PYTHON=python3.13 …)
	$(PYTHON) release/try_wheel.py $$(ls dist/*$(PLATFORM)*.whl) --tests $(or $(PYTEST_ARGS),$(PARALLEL))

lint: $(VENV)/.dev ## Formatting, clippy, ruff, mypy, stubs against the native module
	cargo fmt --check
	rustfmt --check --edition 2024 $(BALANCERS)
	cargo clippy --quiet --workspace --all-targets -- --deny warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest pylae._native --ignore-disjoint-bases

deny: ## Licences, origin and duplicates of the crates that are linked (DENY=advisories asks for known faults)
	cargo deny --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-deny@$(CARGO_DENY)
	cargo deny check $(DENY)

format: $(VENV)/.dependencies ## Format everything
	cargo fmt
	rustfmt --edition 2024 $(BALANCERS)
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: $(VENV)/.$(PROFILE) ## CPU time per request against the peers, in one run (PEERS=… PROFILE=…); writes bench/results/latest.md
	$(BIN)/python -m bench.run --peers $(PEERS) --half --out bench/results/latest.md

bench-quick: $(VENV)/.$(PROFILE) ## Three minutes: this build against another (OLD=path/to/pylae), and what has changed beyond noise
	$(if $(OLD),,$(error OLD=path/to/pylae names the other build))$(BIN)/python -m bench.quick $(OLD) $(BIN)/pylae

conformance: $(VENV)/.release $(CONFORMANCE) ## Suites of others for HTTP/2 and gRPC, with verdicts (SUITES=name,name picks some); writes conformance/results/latest.md
	$(BIN)/python -m conformance.run --suites '$(SUITES)' --out conformance/results/latest.md

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

wheel: $(PACKAGING)/.dependencies ## The wheel, built from the source distribution, and both in dist (PLATFORM=musllinux_1_2 …)
	rm -rf dist
	cargo metadata --quiet --locked --format-version 1 >/dev/null
	. $(PACKAGING)/bin/activate && maturin build --quiet --release --strip --sdist --zig \
		--compatibility $(PLATFORM) --target $(TARGET) --out dist -- $(UNWINDER)
	$(PACKAGING)/bin/python release/check_wheel.py dist/*.whl
	$(PACKAGING)/bin/python -m twine check --strict dist/*
	$(if $(findstring manylinux,$(PLATFORM)),$(PACKAGING)/bin/auditwheel show dist/*.whl) # for musl it takes a musl machine

licenses: ## Write THIRD-PARTY-LICENSES anew, after the crates have changed
	$(PYTHON) release/licenses.py

lock: ## Lock the development dependencies anew
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet 'pip>=25.1' uv
	$(LOCK) --group dev pyproject.toml --output-file requirements-dev.lock
	$(LOCK) --group pyproject.toml:packaging --constraint requirements-dev.lock --output-file release/requirements.lock

clean: ## Remove what was built
	rm -rf $(VENV) target fuzz/target python/pylae/*.so $(PROVIDER)/node_modules $(COLLECTOR) conformance/bin

$(VENV)/.dependencies: requirements-dev.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements-dev.lock
	touch $@

$(INSTALLED_PROVIDER): $(PROVIDER)/package-lock.json
	npm ci --prefix $(PROVIDER) --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

# Two minutes of one core, once.
$(COLLECTOR): $(addprefix $(dir $(COLLECTOR)),main.go go.mod go.sum)
	cd $(dir $@) && go build -trimpath -buildvcs=false -o $(notdir $@) .
	touch $@

# A minute of one core, once.
$(CONFORMANCE): $(addprefix conformance/,go.mod go.sum)
	cd conformance && GOBIN=$(CURDIR)/conformance/bin go install -trimpath -buildvcs=false tool
	touch $@

# Apart from .venv: building a wheel takes few packages, and those of tests are not there for every machine.
$(PACKAGING)/.dependencies: release/requirements.lock
	$(PYTHON) -m venv $(PACKAGING)
	$(PACKAGING)/bin/python -m pip install --quiet 'pip>=25.1'
	$(PACKAGING)/bin/python -m pip install --quiet --require-hashes --requirement release/requirements.lock
	touch $@

# One of these exists: the profile of the build that .venv runs.
BUILDS := $(addprefix $(VENV)/.,dev release release-dev)
$(BUILDS): $(VENV)/.%: $(VENV)/.dependencies $(NATIVE_SOURCES) pyproject.toml
	@echo 'building the native module (profile $*; some minutes the first time)'
	. $(BIN)/activate && maturin develop --quiet --locked --profile $* $(if $(filter dev,$*),$(LIKE_TESTS))
	rm -f $(BUILDS) && touch $@
