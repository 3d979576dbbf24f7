# Everything a person does with a fresh clone. Needs Python 3.11 or newer and make; `make help` lists the targets.

.DEFAULT_GOAL := help

ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
ifndef PYTHON
PYTHON := $(shell for p in python3.11 python3 python; do $$p -c '$(ENOUGH)' >/dev/null 2>&1 && echo $$p && exit; done; echo python3)
endif
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_VENV := .venv-bench
BENCH_STAMP := $(BENCH_VENV)/.installed
WORKERS ?= 2
# An installation compiles every file of every package, and two fifths of its time goes there; most are never imported.
QUICKLY := --quiet --no-compile
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
SOURCES := deepbelief tests benchmarks

.PHONY: help demo test slow bench lint types floors format env clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(STAMP) ## train a deep belief network on digits and write demo/report.html (under 3 minutes)
	$(BIN)/deepbelief demo --out demo

test: lint types floors ## lint, types, import floors, then every test that is not slow
	$(PYTEST) -n $(WORKERS) --dist worksteal --durations=10 --timeout 900

slow: $(STAMP) ## the published numbers and the long chains (hours)
	$(PYTEST) -m slow --durations=10

bench: $(BENCH_STAMP) ## run every script in benchmarks/, the peers in an environment of their own (half an hour)
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BENCH_VENV)/bin/python $$script || exit 1; done

lint: $(STAMP) ## check style and formatting
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: $(STAMP) ## check type annotations
	$(BIN)/mypy deepbelief

floors: $(STAMP) ## check that imports only go down the floors of the house
	$(BIN)/lint-imports --no-logo

format: $(STAMP) ## repair style and formatting where that is safe
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

env: $(STAMP) ## make the environment .venv with every pinned dependency

clean: ## remove the environment, caches, built files and the demo's folder
	rm -rf $(VENV) $(BENCH_VENV) build dist demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find deepbelief tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first and alone, so that no other library's resolution can bring another build of it. The stamp is written
# last: an interrupted installation is taken up again by the next make.
$(STAMP): pyproject.toml constraints.txt $(wildcard setup.py deepbelief/native/*.[ch])
	@$(PYTHON) -c '$(ENOUGH)' 2>/dev/null || { echo "Python must be at least 3.11. Got PYTHON=$(PYTHON)" \
	  "($$($(PYTHON) --version 2>&1 || true)). Install Python 3.11 or name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Making the environment $(VENV) (a few minutes the first time)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	$(BIN)/python -m pip install $(QUICKLY) --constraint constraints.txt setuptools torch
	$(BIN)/python -m pip install $(QUICKLY) --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@touch $@

# The benchmark's environment has this library, its peers and nothing that only developers need.
$(BENCH_STAMP): pyproject.toml constraints.txt benchmarks/requirements.txt $(wildcard setup.py deepbelief/native/*.[ch])
	@echo "Making the environment $(BENCH_VENV) with the peers"
	@test -x $(BENCH_VENV)/bin/pip || $(PYTHON) -m venv $(BENCH_VENV) || { rm -rf $(BENCH_VENV); exit 1; }
	$(BENCH_VENV)/bin/python -m pip install $(QUICKLY) --constraint constraints.txt setuptools torch
	$(BENCH_VENV)/bin/python -m pip install $(QUICKLY) --constraint constraints.txt --no-build-isolation \
	  --editable '.[frames]' --requirement benchmarks/requirements.txt
	@touch $@
