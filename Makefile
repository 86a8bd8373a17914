# Each target first installs what it needs into .venv, if that is missing or out of date: `make demo` from
# requirements-demo.lock, all others from requirements.lock. `make help` lists the targets.
PYTHON ?= python3
VENV   := .venv
# Labelled films to train and measure on; never part of this project.
DATA   ?= ../shared/data
# The report of the default bundle, and how reliable the labels of its sources are.
REPORT := cxrlib/models/default-report
# Size of the benchmarks: films per archive, turns per program, references per plan.
FILMS   ?= 2000
TURNS   ?= 5
OBJECTS ?= 10000000
BIN    := $(VENV)/bin
# These files in .venv say what is installed in it: nothing yet, what the demo needs, everything.
MADE       := $(VENV)/.made
DEMO       := $(VENV)/.demo
EVERYTHING := $(VENV)/.everything
PIP        := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install demo test test-backfill test-cluster test-compile test-systems bench bench-scale bench-flink bench-gpu lint train-default report-default readme lock clean

help:  ## List the targets.
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

# The versions of both files are the same, so that either can be installed after the other.
$(MADE): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or later is needed, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(DEMO): $(MADE) requirements-demo.lock pyproject.toml
	$(PIP) --requirement requirements-demo.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(EVERYTHING): $(MADE) requirements.lock pyproject.toml
	$(PIP) --requirement requirements.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $(DEMO) $@

install: $(EVERYTHING)  ## Create .venv and install the project and everything that it uses into it.

demo: $(DEMO)  ## Score synthetic films in a local S3 stub and show the results beside the known truth.
	$(BIN)/cxr demo

lint: $(EVERYTHING)  ## Check style, format and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint  ## Lint, then run the default tests.
	$(BIN)/pytest

test-backfill: $(EVERYTHING)  ## Backfill small phantoms in 20 parts: estimated, killed, resumed; FILMS=20000 for the full count.
	$(BIN)/pytest -m backfill -s tests/backfill

test-cluster: $(EVERYTHING)  ## Test on real servers: S3, Flink, Prefect (Linux; Go, Java, Maven).
	$(PIP) --no-build-isolation --editable '.[infra]'
	$(BIN)/python -m tests.cluster.servers.programs
	tests/cluster/servers/isolated.sh $(BIN)/pytest -m cluster tests/cluster

test-compile: $(EVERYTHING)  ## Compile each network with torch.compile and compare (minutes; a C++ compiler).
	@command -v "$${CXX:-g++}" > /dev/null || { \
	  echo "A C++ compiler is needed: g++, or the one that CXX names." >&2; exit 1; }
	$(BIN)/pytest -m compile tests/golden

test-systems: $(EVERYTHING)  ## Train each paper's system for a short time, measure it and score phantoms (half an hour; real films).
	$(BIN)/pytest -m systems tests/systems

bench: $(EVERYTHING)  ## Measure against three rivals and the limit, FILMS=2000 an archive, and planning and masks (hours).
	$(PIP) --no-build-isolation --editable '.[bench]'
	$(BIN)/python -m tests.benchmarks.masks_speed --repeats $(TURNS)
	$(BIN)/python -m tests.benchmarks.compare --films $(FILMS) --repeats $(TURNS)
	$(BIN)/python -m tests.benchmarks.parts --films $(FILMS)
	$(BIN)/python -m tests.benchmarks.plan_scale --objects $(OBJECTS)
	$(BIN)/python -m tests.benchmarks.decode_speed --repeats $(TURNS)
	$(BIN)/python -m tests.benchmarks.decode_plan
	$(BIN)/python -m tests.benchmarks.damage

bench-scale: $(EVERYTHING)  ## Measure seconds per film and peak memory at 500, 2,000 and 10,000 films.
	$(BIN)/python -m tests.benchmarks.scale --repeats $(TURNS)

bench-flink: $(EVERYTHING)  ## Measure one and two task managers of Flink, and the local runner (Linux; Go, Java, Maven).
	$(PIP) --no-build-isolation --editable '.[bench]'
	$(BIN)/python -m tests.cluster.servers.programs
	tests/cluster/servers/isolated.sh $(BIN)/python -m tests.benchmarks.flink_scale --repeats $(TURNS)

bench-gpu: $(EVERYTHING)  ## Measure the networks and cxr score on a CUDA device (at most eight minutes).
	$(PIP) --no-build-isolation --editable '.[bench]'
	$(BIN)/python -m tests.benchmarks.gpu

train-default: $(EVERYTHING)  ## Rebuild the default model bundle, its measured figures and its report (hours on a CPU); DATA=folder.
	$(BIN)/cxr train default --data $(DATA) --out cxrlib/models/default
	$(MAKE) report-default CARD=--write-card

# The report shows phantoms only, and films.csv stays in runs/: no film and no label of DATA becomes part of this project.
report-default: $(EVERYTHING)  ## Measure the default bundle on the test films of DATA=folder and rebuild its report.
	rm -rf runs/phantoms runs/default-report
	$(BIN)/cxr phantom --count 200 --masks --seed 20000 --out runs/phantoms
	$(BIN)/cxr evaluate cxrlib/models/default $(addprefix $(DATA)/,covid-qu-ex lung_seg infection_seg classes severity) \
	  runs/phantoms $(CARD) --sources $(REPORT)/sources.toml --worst phantoms --report runs/default-report
	cp runs/default-report/report.html runs/default-report/figures.json $(REPORT)

readme: $(EVERYTHING)  ## Write the generated tables of the README files.
	$(BIN)/python -m tests.docs.tables

lock: $(MADE)  ## Pin what pyproject.toml names, keeping pinned versions; UPGRADE=--upgrade chooses them anew.
	$(BIN)/python .ci/lock.py $(UPGRADE)

clean:  ## Remove the virtual environment, caches and the demo's results.
	rm -rf $(VENV) build dist demo *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
