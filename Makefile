# The verbs of the house; `make help` lists them. CI calls nothing else.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ENV ?= development
PART ?=
ALL ?=
SIZE ?= full
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
	COLUMNS=100 $(BIN)/python tools/reference.py --check
	$(BIN)/python tools/openapi.py --check
	test ! -d ui/node_modules || npm --prefix ui run --silent check

test: setup ## the default tests, and the promises they show (PART=unit for one folder, ALL=1 with the slow ones)
	$(BIN)/python -m pytest -n 2 -q $(if $(ALL),--every) $(if $(PART),,--spec-out=.cache/spec.json) tests/$(PART)
	$(if $(PART),,$(BIN)/python tools/spec.py --totals --results .cache/spec.json)

demo: setup ## the whole path on a small model, offline: rows to a served model, with a report page
	$(BIN)/python examples/tickets/demo.py

bench: setup ## measurements beside the peers (PEER_PYTHON=... for the peers' environment)
	$(BIN)/python bench/sft.py
	$(BIN)/python bench/sft.py --adapter full
	$(BIN)/python bench/dpo.py
	$(BIN)/python bench/grpo.py
	$(BIN)/python bench/decode.py
	$(BIN)/python bench/engines.py

spec: setup ## run the tests that show a promise; list promises with and without one
	$(BIN)/python tools/spec.py

campaign: setup ## longer proofs, e.g. PART=training SIZE=smoke, PART=plan; results append to evidence/
	$(BIN)/python tools/campaign.py --size $(SIZE) $(if $(PART),--part $(PART))

openapi: setup ## write ui/openapi.json, which the pages' client is generated from
	$(BIN)/python tools/openapi.py

docs: setup ## generate the reference, run the guides' code blocks, check links
	COLUMNS=100 $(BIN)/python tools/reference.py
	$(BIN)/python -m pytest -q tests/docs

ui: ## build the pages into the package (needs Node 20 and npm)
	cd ui && npm ci --no-fund --no-audit && npm run build

client: openapi ## generate the pages' types from the API's description
	cd ui && npm ci --no-fund --no-audit && npm run client

.PHONY: help setup check test demo bench spec campaign openapi ui client docs
