# Everything runs from a bare machine with Python 3.11 and make: each target makes .venv and installs what it needs.
#
#   make demo [DATA=folder] [ONCE=1] [PORT=8000]   from a log to a ranking, then keep serving
#   make test                                      all checks and all tests
#   make check                                     the checks alone: style, types, architecture
#   make bench                                     training speed beside other libraries

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000

.PHONY: demo test check bench

demo: $(VENV)/.demo
	$(BIN)/watchnext demo --port $(PORT) $(if $(DATA),--data $(DATA)) $(if $(ONCE),--once)

test: check
	$(BIN)/python -m pytest

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	$(BIN)/python -m load_tests.training_speed

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable '.[train,serve]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.demo
