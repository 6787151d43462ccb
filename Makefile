# Needs only Python 3.11 or newer, git and make. Every target makes the virtual environment it works in.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
VENV ?= .venv
VENV_BENCH ?= .venv-bench
VENV_TF ?= .venv-tf
SERVERS := .venv-serve .venv-serve-mlserver .venv-serve-triton
WORKERS ?= 2

BIN := $(VENV)/bin
PIP_FLAGS := --quiet --disable-pip-version-check
INSTALL := $(BIN)/python -m pip install $(PIP_FLAGS) --constraint constraints.txt

.PHONY: demo test lint format bench bench-serving gpu referee zoo soak protos clean help
.DEFAULT_GOAL := help

help:
	@echo "make demo    train, save, serve and check a small digit reader (pictures in demo-output/)"
	@echo "make test    lint, types, layers and every test"
	@echo "make lint    ruff and mypy only"
	@echo "make bench   race graphflow against its peers (results in benchmarks/results/)"
	@echo "make bench-serving  graphflow serve beside other servers, in environments of their own (needs Python 3.11)"
	@echo "make gpu     on a machine with a GPU, with what is installed: its tests, its limits, a race (under ten minutes)"
	@echo "make referee every op, its gradient and random graphs against TensorFlow (results in benchmarks/results/)"
	@echo "make zoo     models of real size train for a few steps: ResNet-50, BERT-base and others (minutes)"
	@echo "make soak    faults of the serving process at full size (minutes; results in benchmarks/results/)"
	@echo "make protos  generate the protobuf modules from proto/"
	@echo "make clean   remove what the other targets made"

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer found; say: make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) hatchling editables
	$(INSTALL) --no-build-isolation --editable ".[demo]"
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) hatchling editables
	$(INSTALL) --no-build-isolation --editable ".[test]"
	@touch $@

# TensorFlow stands alone: it is the referee of some tests, never a dependency. Without it those tests skip. The
# clients of serving protocols ask for a second TensorFlow, or for old versions of what is there: they come without.
$(VENV_TF)/.ready: benchmarks/constraints.txt
	@test -n "$(PYTHON)" && $(PYTHON) -m venv $(VENV_TF) && \
	  $(VENV_TF)/bin/python -m pip install $(PIP_FLAGS) --constraint benchmarks/constraints.txt tensorflow-cpu \
	    requests "tritonclient[grpc,http]" && \
	  $(VENV_TF)/bin/python -m pip install $(PIP_FLAGS) --constraint benchmarks/constraints.txt --no-deps \
	    ovmsclient tensorflow-serving-api && \
	  touch $@ || echo "tensorflow-cpu could not be installed: the tests marked tensorflow will skip"

$(VENV_BENCH)/.ready: benchmarks/constraints.txt
	$(PYTHON) -m venv $(VENV_BENCH)
	$(VENV_BENCH)/bin/python -m pip install $(PIP_FLAGS) --constraint benchmarks/constraints.txt \
	  -r benchmarks/requirements.txt
	@touch $@

# Each server asks for other versions of the same packages. One that cannot be installed is left out of the race.
.venv-serve/.ready: benchmarks/servers/requirements.txt
.venv-serve-mlserver/.ready: benchmarks/servers/requirements-mlserver.txt
.venv-serve-triton/.ready: benchmarks/servers/requirements-triton.txt
$(SERVERS:%=%/.ready):
	@$(PYTHON) -m venv $(@D) && $(@D)/bin/python -m pip install $(PIP_FLAGS) -r $< && touch $@ || \
	  { rm -rf $(@D); echo "what $< lists could not be installed: its servers are left out"; }

demo: $(VENV)/.demo
	$(BIN)/python -m graphflow demo

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Lint runs beside the tests, and the tests run even where it fails, so that one command tells everything.
test: $(VENV)/.test $(VENV_TF)/.ready
	@if [ -e $(VENV_TF)/.ready ]; then export GRAPHFLOW_TF_PYTHON="$${GRAPHFLOW_TF_PYTHON:-$(CURDIR)/$(VENV_TF)/bin/python}"; fi; \
	report=$$(mktemp); $(MAKE) --no-print-directory lint > $$report 2>&1 & linting=$$!; \
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal; tests=$$?; \
	wait $$linting; lint=$$?; echo; cat $$report; rm -f $$report; \
	[ $$lint = 0 ] || echo "lint failed, see above"; exit $$((lint | tests))

# Nothing is installed: a bare machine without a network runs what it has, and is told what is missing.
gpu:
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m benchmarks gpu

bench: $(VENV)/.test $(VENV_BENCH)/.ready
	BENCH_PYTHON=$(CURDIR)/$(VENV_BENCH)/bin/python $(BIN)/python -m benchmarks run
	BENCH_PYTHON=$(CURDIR)/$(VENV_BENCH)/bin/python $(BIN)/python -m benchmarks run --threads 1 --no-startup
	BENCH_PYTHON=$(CURDIR)/$(VENV_BENCH)/bin/python $(BIN)/python -m benchmarks sizes
	$(BIN)/python -m benchmarks peak
	$(BIN)/python -m benchmarks roofline
	$(BIN)/python -m benchmarks scaling

bench-serving: $(VENV)/.test $(SERVERS:%=%/.ready)
	$(BIN)/python -m benchmarks serving

referee: $(VENV)/.test $(VENV_TF)/.ready
	GRAPHFLOW_TF_PYTHON="$${GRAPHFLOW_TF_PYTHON:-$(CURDIR)/$(VENV_TF)/bin/python}" $(BIN)/python -m tests.referee_report

zoo: $(VENV)/.test
	$(BIN)/python -m pytest -m zoo -s tests/models

soak: $(VENV)/.test
	$(INSTALL) schemathesis
	PATH="$(CURDIR)/$(BIN):$$PATH" GRAPHFLOW_FUZZ=20000 $(BIN)/python -m pytest -p no:schemathesis -m soak -s tests/serving

protos: $(BIN)/python
	$(BIN)/python proto/generate.py

clean:
	rm -rf $(VENV) $(VENV_BENCH) $(VENV_TF) $(SERVERS) demo-output build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
