# `make run` and `make test` are all a newcomer needs; `make help` lists the rest.
SHELL := bash
VENV ?= .venv
BIN := $(VENV)/bin
export VENV
# As it was typed: neither make nor the shell may look into a file's name.
export SOUND_GIVEN := $(value SOUND)
.DEFAULT_GOAL := help
.PHONY: help run test check format bench test-oldest soak-capture clean

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' Makefile

run: ## run a sensor here: SOUND=<file or folder> takes the place of the microphone
	@scripts/set-up.sh run
	@$(BIN)/acoupi run --demo $${SOUND_GIVEN:+--sound "$$SOUND_GIVEN"}

test: ## set everything up and run every check and test that can run on this machine
	@scripts/set-up.sh test
	@scripts/check.sh
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

check: ## formatting, lint and types only
	@scripts/set-up.sh test
	@scripts/check.sh

format: ## format the code
	@scripts/set-up.sh test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: ## print the figures of the documentation, each beside its limit
	@scripts/set-up.sh test
	@for bench in $$(grep -l __main__ tests/bench/*.py); do echo; echo "## $$bench"; $(BIN)/python $$bench || exit 1; done

test-oldest: ## the tests with the oldest versions of the dependencies that are allowed
	@scripts/set-up.sh test
	@scripts/test-oldest.sh

soak-capture: ## ten minutes of recording at 48 and 384 kHz: no sample lost or doubled
	@scripts/set-up.sh test
	$(BIN)/python tests/bench/capture.py --samplerate 48000 --samplerate 384000 --seconds 610 --load 2 --late 5

clean: ## remove what was built (not recordings)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
