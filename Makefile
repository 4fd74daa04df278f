# Everything a fresh machine needs is Python 3.11 or newer with its venv module, and make.
#   make demo    install, then the whole main job on the handwritten digits
#   make test    install, then every check
#   make check | docs | bench | clean

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
PEER := azula==0.11.1 einops==0.8.1

# One line for each package instead of pip's pages of output and warnings; errors are shown as ever.
COUNT := 2> >(grep -v -e '^WARNING' -e '^ *$$' >&2) | awk '/^ *Collecting/ {printf "    %3d  %s\n", ++n, $$2; fflush()} \
	/^ *(Installing collected|Successfully installed)/ {print "   ", substr($$0, 1, 60) " ..."; fflush()}'

.PHONY: help demo test check lint unit docs bench clean

help:
	@sed -n 's/^#   //p' Makefile

$(BIN)/python:
	@echo "==> creating the environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Windvane needs Python 3.11 or newer, \
	and $(PYTHON) is " + sys.version.split()[0] + "; name another one: make PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV)

# The stamps: installed once, and again when a version or a dependency changes.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "==> installing windvane and its development tools (some minutes the first time)"
	@$(PIP) install -c constraints.txt -e '.[dev]' $(COUNT)
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	@echo "==> installing the documentation tools"
	@$(PIP) install -c constraints.txt -e '.[docs]' $(COUNT)
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	@echo "==> installing the peer that the benchmark compares with, without its dependencies"
	@$(PIP) install --no-deps $(PEER) $(COUNT)
	@touch $@

demo: $(VENV)/.installed
	@echo "==> windvane demo"
	@$(BIN)/windvane demo $(ARGS)

test: lint unit
	@echo "==> all checks passed"

check: lint

lint: $(VENV)/.installed
	@echo "==> ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "==> mypy"
	@$(BIN)/mypy
	@echo "==> import-linter"
	@$(BIN)/lint-imports --no-logo

unit: export OMP_NUM_THREADS = 1
unit: export MKL_NUM_THREADS = 1
unit: $(VENV)/.installed lint
	@echo "==> pytest, two processes with one thread each"
	@$(BIN)/python -m pytest -n 2 $(ARGS)

docs: $(VENV)/.installed-docs
	@echo "==> zensical, into site/"
	@$(BIN)/zensical build --clean

bench: $(VENV)/.installed-bench
	@echo "==> benchmarks"
	@$(BIN)/python benchmarks/sampling.py $(ARGS)

clean:
	rm -rf build dist site .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
