# Every target sets up what it needs. `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help setup demo check test bench corpus fuzz lab lab-setup lab-crash lab-all docs format clean

help:            ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: .venv/.done   ## make .venv with cxlstate and its tools; does nothing when done

.venv/.done: pyproject.toml tools/setup
	PYTHON=$(PYTHON) tools/setup
	@touch $@

demo: setup      ## plan, apply and plan again on a simulated host
	tools/demo

check: setup     ## the fast loop: lint, types, layers, and the tests of the pure code
	tools/test-setup quick
	$(BIN)/python tools/suite check

lab-setup: setup
	tools/test-setup

test: lab-setup  ## the tests, emulated hosts included, without those of many minutes
	$(BIN)/python tools/suite test

bench: setup     ## ratios against the tools people would use instead
	$(BIN)/pytest tests/bench -q --benchmark-only

corpus: lab-setup ## libvirt's own test files, all of them, against merge, the simulator and libvirt itself
	$(BIN)/pytest -v -s -n 2 --whole-corpus tests/formats/test_domain_xml_corpus.py tests/libvirt/test_corpus.py

fuzz: setup      ## try odd specs, plan files and XML for SECONDS=60, then odd answers of hosts
	$(BIN)/python -m tests.fuzz $(or $(SECONDS),60)
	$(BIN)/pytest -q --hypothesis-seed=$$(date +%s) tests/machine/test_hostile_answers.py

lab: lab-setup   ## boot the emulated CXL host and give a shell on it
	$(BIN)/python -m tests.lab shell

lab-crash: lab-setup ## stop after every single action and step, emulated and simulated
	$(BIN)/python -m tests.lab build stable bare cloud
	$(BIN)/pytest -v -s --every-crash tests/e2e/test_stop_anywhere.py tests/e2e/test_stop_in_a_guest.py \
		tests/laws/test_crash.py tests/laws/test_images.py tests/simulator/test_host_memory.py

lab-all: setup ## every test on the emulated hosts; SHARD=1/3 is the first third of them
	tools/test-setup long
	$(BIN)/python tools/suite lab-all $(SHARD)

docs: setup      ## regenerate schemas/, docs/errors.md and what the documents' commands print
	$(BIN)/cxlstate schema --out schemas/cxlstate.schema.json
	$(BIN)/python tools/refresh-docs

format: setup    ## reformat
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:           ## remove what setup made
	rm -rf .venv
