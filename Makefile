# `make run` and `make test` are all a newcomer needs; `make help` lists the rest.
SHELL := bash
VENV ?= .venv
BIN := $(VENV)/bin
export VENV
# As it was typed: neither make nor the shell may look into a file's name.
export SOUND_GIVEN := $(value SOUND)
.DEFAULT_GOAL := help
.PHONY: help run test check format bench e2e vm slow powercut kills soak test-oldest soak-capture clean

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' Makefile

run: ## run a sensor here: SOUND=<file or folder> takes the place of the microphone
	@scripts/set-up.sh run
	@$(BIN)/acoupi run --demo $${SOUND_GIVEN:+--sound "$$SOUND_GIVEN"}

test: ## set everything up and run every check and test that can run on this machine
	@scripts/set-up.sh test
	@scripts/check.sh
	$(BIN)/python -m pytest -m "not slow and not vm" $(PYTEST_ARGS)

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

e2e: ## whole sensors under a real systemd, in containers: sound, reboot, faults (about 14 minutes)
	@scripts/set-up.sh test
	$(BIN)/python -m pytest -m "not slow and not vm" tests/e2e $(PYTEST_ARGS)

vm: ## whole sensors in virtual machines: unplugging, power cuts, disks, memory, clock (about 30 minutes)
	@scripts/set-up.sh vm
	$(BIN)/python -m pytest -m "vm and not slow" tests/e2e $(PYTEST_ARGS)

slow: ## the tests that take too long for make test
	@scripts/set-up.sh test
	$(BIN)/python -m pytest -m "slow and not vm" $(PYTEST_ARGS)

powercut: ## CYCLES=100 power cuts on a disk that loses what was not flushed; goes on where it was stopped
	@scripts/set-up.sh vm
	$(BIN)/python tests/e2e/powercut.py --cycles $(or $(CYCLES),100)

kills: ## ROUNDS=500 times kill -9 of a process of the sensor; goes on where it was stopped
	@scripts/set-up.sh test
	$(BIN)/python tests/e2e/kills.py --rounds $(or $(ROUNDS),500)

soak: ## HOURS=24 of a sensor that runs: memory, file descriptors, logs; goes on where it was stopped
	@scripts/set-up.sh test
	$(BIN)/python tests/e2e/soak.py --hours $(or $(HOURS),24)

test-oldest: ## the tests with the oldest versions of the dependencies that are allowed
	@scripts/set-up.sh test
	@scripts/test-oldest.sh

soak-capture: ## ten minutes of recording at 48 and 384 kHz: no sample lost or doubled
	@scripts/set-up.sh test
	$(BIN)/python tests/bench/capture.py --samplerate 48000 --samplerate 384000 --seconds 610 --load 2 --late 5

clean: ## remove what was built (not recordings)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
