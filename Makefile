# Two commands on a fresh machine do everything: `make demo` and `make test`. They need Python 3.11 and pip, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SEEDS ?= 50
SCALE ?= 1
MINUTES ?= 10
SEED ?= 1

.DEFAULT_GOAL := help
.PHONY: help install demo up test test-unit test-attacks test-faults test-scale test-contract chaos check format clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' Makefile

install: $(READY) ## make .venv with everything, pinned by constraints.txt

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "actas needs Python 3.11 or later; say which: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv --without-pip $(VENV)  # pip is there; what venv would make another one from is not, on Debian
	PIP_CONSTRAINT=constraints.txt $(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(READY)

demo: $(READY) ## the main job, on real servers, in about a minute (KEEP=1 leaves it running)
	@$(BIN)/actas demo $(if $(KEEP),--keep)

up: $(READY) ## run everything on this machine until Ctrl-C
	@$(BIN)/actas up

test: $(READY) ## what is claimed, tried: rules, real servers, attacks (long ones have verbs of their own, below)
	$(BIN)/pytest tests/unit tests/integration --numprocesses=3 --dist=loadfile $(ARGS)
	$(BIN)/pytest tests/attacks --numprocesses=3 --dist=loadfile $(ARGS)

test-unit: $(READY) ## the pure rules only, in seconds
	$(BIN)/pytest tests/unit $(ARGS)

test-attacks: $(READY) ## whoever reads, edits, forges, replays or steals a role's credentials gets nothing
	$(BIN)/pytest tests/attacks --numprocesses=3 --dist=loadfile $(ARGS)

test-faults: $(READY) ## processes and servers killed, stopped, wiped, sealed; SEEDS=50 random mixes of all that
	SEEDS=$(SEEDS) $(BIN)/pytest tests/faults --numprocesses=2 --dist=loadgroup $(ARGS)

test-scale: $(READY) ## imports, rewrapping, a million refusals, a simulated day; SCALE=1 is the whole size
	SCALE=$(SCALE) $(BIN)/pytest tests/scale --timeout=3600 -rP $(ARGS)

test-contract: $(READY) ## requests and answers against X's published document, which is not shipped (ACTAS_X_OPENAPI=path)
	$(BIN)/pytest tests/contract $(ARGS)

chaos: $(READY) ## load and a random mix of all faults for MINUTES=10, drawn from SEED=1; then the books must balance
	@$(BIN)/python -m tests.chaos --minutes $(MINUTES) --seed $(SEED) $(ARGS)

check: $(READY) ## lint, formatting, types, import walls
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/unit/test_walls.py

format: $(READY) ## let ruff put things in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## forget what was installed and what the embedded stack kept
	rm -rf $(VENV) .actas .actas-demo
