# Two commands on a fresh machine do everything: `make demo` and `make test`. They need Python 3.11 and pip, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SEEDS ?= 50
SCALE ?= 1
MINUTES ?= 10
SEED ?= 1
PORT ?= 8000
# A file's tests stay in one process, which starts one stack for all its files. In the order given, so that what takes
# long begins first and nobody waits for it in the end; xdist's own order is by the number of tests, and that says little.
SPREAD := --numprocesses=3 --dist=loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install demo up example-fastapi example-flask example-django
.PHONY: test test-unit test-kit test-attacks test-faults test-scale test-contract test-system screenshot chaos check format clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' Makefile

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

# Each beside the servers, workers and sandbox that it needs.
EXAMPLE := @APP_URL=http://127.0.0.1:$(PORT) $(BIN)/actas up $(ARGS) --

example-fastapi: $(READY) ## the FastAPI example at http://127.0.0.1:8000 (PORT=8000), with all it needs, until Ctrl-C
	$(EXAMPLE) uvicorn --app-dir examples/fastapi app:app --port $(PORT)

example-flask: $(READY) ## the same for Flask
	$(EXAMPLE) flask --app examples/flask/app.py run --port $(PORT)

example-django: $(READY) ## the same for Django
	$(EXAMPLE) python examples/django/app.py runserver --noreload 127.0.0.1:$(PORT)

test: $(READY) ## what is claimed, tried: rules, real servers, attacks (long ones have verbs of their own, below)
	$(BIN)/pytest tests/attacks tests/integration tests/unit $(SPREAD) $(ARGS)

test-unit: $(READY) ## the pure rules only, in seconds
	$(BIN)/pytest tests/unit $(ARGS)

test-kit: $(READY) ## every built-in provider and action through the test kit (actas.testing), and planted mistakes
	$(BIN)/pytest tests/kit --numprocesses=3 --dist=loadscope $(ARGS)

test-attacks: $(READY) ## whoever reads, edits, forges, replays or steals a role's credentials gets nothing
	$(BIN)/pytest tests/attacks $(SPREAD) $(ARGS)

test-faults: $(READY) ## processes and servers killed, stopped, wiped, sealed; SEEDS=50 random mixes of all that
	SEEDS=$(SEEDS) $(BIN)/pytest tests/faults --numprocesses=3 --dist=loadscope --no-loadscope-reorder $(ARGS)

test-scale: $(READY) ## imports, rewrapping, a million refusals, a simulated day; SCALE=1 is the whole size
	SCALE=$(SCALE) $(BIN)/pytest tests/scale --timeout=3600 -rP $(ARGS)

test-system: $(READY) ## an example in headless Chromium, Flower, the alert rules; takes what it needs from Debian's packages
	@sh tests/system/install.sh $(VENV)/tools
	$(BIN)/pytest tests/system $(ARGS)

screenshot: ARGS += --screenshot=docs/images/example-jobs.png
screenshot: test-system ## the same, and docs/images/ gets its picture

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
