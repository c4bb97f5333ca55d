# Everything there is to do with a checkout; `make` lists it. Needs make and Python 3.11 or newer.
# `run` and `test` set up first: .venv/ from requirements.lock, by hash, once.

.DEFAULT_GOAL := help
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.PHONY: help run test kubernetes lint format lock bench fuzz docs clean

BIN := .venv/bin
STAMP := .venv/.installed
# A job of its own on the terminal: Ctrl-C then ends the demo, with 0, and not make, with 130.
on_terminal := if $(BIN)/python -c 'import os, sys; sys.exit(os.tcgetpgrp(0) != os.getpgrp())' 2>/dev/null; then set -m; fi;
# Where all tests have to run, the Kubernetes is built beside the first of them; those that need it
# wait for it, and say what went wrong.
build_beside := if [ "$$CI" = true ]; then nice -n 5 .ci/kubernetes >/dev/null 2>&1 & fi
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)

help: ## List the targets
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 20

run: $(STAMP) ## Show it at work: a simulated Harbor, the daemon, a live table (ARGS="--pushes 20")
	@$(on_terminal) $(BIN)/syncwatch demo $(ARGS)

test: $(STAMP) ## Run the tests (ARGS="tests/plan -x" runs some)
	@.ci/debian-packages
	@$(if $(ARGS),,$(build_beside))
	@exec $(BIN)/python -m pytest $(ARGS)

kubernetes: $(STAMP) ## Build a real Kubernetes, once (root on Debian), and run the tests that need it
	@.ci/debian-packages
	@.ci/kubernetes >/dev/null
	@exec $(BIN)/python -m pytest -n 0 -m kubernetes $(ARGS)

lint: $(STAMP) ## Style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(STAMP) ## Put the code in its form, and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(STAMP) ## Resolve all dependencies anew into requirements.lock, with hashes
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	    --no-header --extra postgres --group dev -o requirements.lock pyproject.toml

bench: $(STAMP) ## Measure it (ARGS go to benchmarks/run.py)
	@exec $(BIN)/python benchmarks/run.py $(ARGS)

fuzz: $(STAMP) ## Alter real inputs and feed the parsers (ARGS="--cases 1000000 --target patterns")
	@exec $(BIN)/python tests/fuzz/run.py $(ARGS)

docs: $(STAMP) ## Write the generated parts of docs/ from the code
	@$(BIN)/python tests/api/document.py
	@exec $(BIN)/python docs/generate.py

clean: ## Remove .venv/ and everything that was made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find syncwatch tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is newer than what it was made from; a set-up that broke off leaves none.
$(STAMP): requirements.lock pyproject.toml
	@python=$$(.ci/python $(PYTHONS)) && \
	{ $(BIN)/python -m pip --version >/dev/null 2>&1 || "$$python" -m venv --clear .venv; }
	@echo "setting up .venv/ (once; again when requirements.lock or pyproject.toml change)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input \
	    --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input \
	    --no-deps --no-build-isolation -e .
	@touch $@
