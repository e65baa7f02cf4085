# Everything runs from a bare machine with Python 3.11 and make: each target makes .venv and installs what it needs.
#
#   make demo [PORT=8000]                          the live loop on a simulated world, until Ctrl-C
#   make demo ONCE=1 [DATA=folder] [SPEC=my.yaml]  from a log to a ranking, once; without ONCE=1 it keeps serving
#   make test                                      all checks and all tests
#   make check                                     the checks alone: style, types, architecture
#   make bench [DATA=folder]                       ranking beside other services, model time, agreement in bfloat16
#   make bench-training                            training speed beside other libraries
#   make quality [DATA=folder]                     one network against boosted trees on real impressions, day by day;
#                                                  speed and memory of features that learn from the stream
#   make loop [DATA=folder]                        what it costs to follow the log of events, and to write it;
#                                                  ten days through it beside the log at rest; its memory;
#                                                  what following is worth while tastes drift
#   make fuzz                                      every endpoint, tens of thousands of made-up requests
#   make docs                                      the documentation as pages, in site/
#   make soak [MINUTES=60]                         an hour of load while bundles, registry, Redis and clients misbehave;
#                                                  200 kills of the live loop
#
# QUICK=1 keeps bench, quality, loop, fuzz and soak under five minutes each.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000

.PHONY: demo test check docs bench bench-training quality loop fuzz soak

demo: $(VENV)/.demo
	$(BIN)/watchnext $(if $(ONCE)$(DATA)$(SPEC),demo,up) --port $(PORT) \
		$(if $(DATA),--data '$(DATA)') $(if $(SPEC),--spec '$(SPEC)') $(if $(ONCE),--once)

test: check
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.dev
	$(BIN)/python -m load_tests.model_time
	$(BIN)/python -m load_tests.agreement $(if $(DATA),--data '$(DATA)')
	$(BIN)/python -m load_tests.ranking_speed

bench-training: $(VENV)/.dev
	$(BIN)/python -m load_tests.training_speed

quality: $(VENV)/.dev
	$(BIN)/python -m load_tests.quality $(if $(DATA),--data '$(DATA)')
	$(BIN)/python -m load_tests.state_speed $(if $(DATA),--data '$(DATA)')

loop: $(VENV)/.dev
	$(BIN)/python -m load_tests.live_loop $(if $(DATA),--data '$(DATA)')
	$(BIN)/python -m load_tests.impressions_cost
	$(BIN)/python -m load_tests.replay_days $(if $(DATA),--data '$(DATA)')
	$(BIN)/python -m load_tests.loop_memory
	$(BIN)/python -m load_tests.drift

fuzz: $(VENV)/.dev
	$(BIN)/python -m load_tests.fuzz

soak: $(VENV)/.dev
	$(BIN)/python -m load_tests.soak $(if $(MINUTES),--minutes $(MINUTES))
	$(BIN)/python -m load_tests.loop_kills

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	@echo "installing watchnext and what it needs into $(VENV): a few minutes, most of them for torch"
	$(BIN)/pip install --editable '.[train,serve]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing watchnext, its tests and what they need into $(VENV): a few minutes"
	$(BIN)/pip install --editable '.[dev]'
	@touch $@ $(VENV)/.demo
