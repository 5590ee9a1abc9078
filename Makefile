# make demo · make test · make test-slow · make bench · make lint: each sets up .venv by itself. make clean removes it.
# PIP_INDEX_URL and HF_ENDPOINT are honoured by every step. Another interpreter: make PYTHON=/path/to/python3.11 demo

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-slow bench lint clean

demo: $(READY)
	$(BIN)/python -m pipeline configs/demo.yaml

test: $(READY_DEV)
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder --durations 15

test-slow: $(READY_DEV)
	$(BIN)/python -m pytest -m slow

bench: $(READY_DEV)
	$(BIN)/python -m bench.kills --kills 10
	$(BIN)/python -m bench.train --overhead --compile
	$(BIN)/python -m bench.stalls
	$(BIN)/python -m bench.race
	$(BIN)/python -m bench.clean
	$(BIN)/python -m bench.tokens
	$(BIN)/python -m bench.feed
	$(BIN)/python -m bench.stream

lint: $(READY_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy model pipeline utils bench train.py cli_demo.py

$(READY): requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -r requirements.txt
	touch $@

$(READY_DEV): $(READY) requirements-dev.txt
	$(BIN)/python -m pip install -q -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV)
