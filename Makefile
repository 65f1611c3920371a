# The verbs of the house; `make help` lists them. CI calls nothing else.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ENV ?= development
PART ?=
EXTRA := $(if $(filter production,$(ENV)),serve,dev)

help: ## list the verbs
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(VENV)/.ready-$(ENV): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt 'torch==2.13.*'
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[$(EXTRA)]'
	touch $@

setup: $(VENV)/.ready-$(ENV) ## make the environment (ENV=production for the lean one)

check: setup ## format, lint, types, contracts, house lints: under a minute when warm
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell src tests docs tools examples README.md
	$(BIN)/python tools/house.py

test: setup ## the default tests (PART=unit for one folder)
	$(BIN)/python -m pytest -n 2 tests/$(PART)

.PHONY: help setup check test demo bench spec campaign docs
