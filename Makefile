# Every target sets up what it needs in .venv first; nothing has to be installed beforehand but Python 3.11+.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HOST ?= 127.0.0.1
PORT ?= 8080
CONFIG ?=
SHARED ?= ../shared
TRAINED = --data $(SHARED)/data/dev --parallel $(SHARED)/data/parallel --out src/balustrade/shipped
# Each file of tests runs in one of as many processes as there are cores, four at most.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: setup serve test test-slow test-all lint fix bench docs guard thresholds leak release clean
.DEFAULT_GOAL := serve

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[gateway]'
	touch $@

$(VENV)/.setup: pyproject.toml constraints.txt requirements-dev.txt | $(BIN)/python
	$(PIP) torch  # first and alone: whatever else asks for it would bring another build
	$(PIP) --editable '.[gateway,otel,parquet,train,torch]' --requirement requirements-dev.txt
	touch $@ $(VENV)/.serve

setup: $(VENV)/.setup

serve: $(VENV)/.serve
	$(BIN)/balustrade serve --host $(HOST) --port $(PORT) $(if $(CONFIG),--config $(CONFIG))

test: setup
	$(PYTEST) -m 'not slow'

test-slow: setup
	$(PYTEST) -m slow

test-all: setup
	$(PYTEST)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/basedpyright
	$(BIN)/lint-imports

fix: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python -m pytest benchmarks --benchmark-json=benchmarks/results.json

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

guard: setup
	$(BIN)/python -m balustrade.train.encoder $(TRAINED)
	$(BIN)/python -m balustrade.train.static $(TRAINED)
	$(BIN)/python -m balustrade.train.cascade $(TRAINED)
	$(BIN)/python -m balustrade.train.monitor $(TRAINED)
	$(BIN)/python -m balustrade.train.doubts $(TRAINED)
	$(BIN)/python -m balustrade.train.card --data $(SHARED)/data/dev --bench $(SHARED)/data/bench

thresholds: setup
	$(BIN)/python -m balustrade.train.thresholds $(TRAINED)

leak: setup
	$(BIN)/python -m balustrade.train.leak --data $(SHARED)/data/dev --parallel $(SHARED)/data/parallel --bench $(SHARED)/data/bench

release: setup
	$(BIN)/python tools/release.py --out dist

clean:
	rm -rf $(VENV) site dist build
