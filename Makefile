# A fresh machine needs Python 3.11 with venv, git and make; everything else is installed here.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# Neither ONNX Runtime nor Ray may report home from here.
export ORT_DISABLE_TELEMETRY = 1
export RAY_USAGE_STATS_ENABLED = 0

.PHONY: help setup models up down demo test fuzz abuse trouble soak lint types contracts bench-decide bench-sim bench-queues bench-calibration bench-serve calibrate lock clean

help:            ## Show these words
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) models   ## Install everything into .venv and build the example models

$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing (a few minutes the first time)…"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

models: $(STAMP)        ## Build the vision and language models (the digits ship with the repository)
	@$(BIN)/python examples/models/vision.py
	@$(BIN)/python examples/models/language.py

demo: setup      ## Start, send real traffic, cut a site off, show what went where and why; leaves nothing running
	@$(BIN)/infercast demo

up: setup        ## Start the fleet and keep it running
	@$(BIN)/infercast up

down:            ## End it
	@$(BIN)/infercast down

test: setup lint types contracts   ## The whole test suite
	@$(BIN)/infercast check
	@$(BIN)/python -m pytest

ROUNDS ?= 3
EXAMPLES ?= 400
fuzz: $(STAMP)   ## Property tests and fuzzed loaders, ROUNDS=3 times with more examples and fresh seeds, which it prints
	@for round in $$(seq $(ROUNDS)); do \
		seed=$${SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}; \
		echo "round $$round of $(ROUNDS): SEED=$$seed EXAMPLES=$(EXAMPLES)"; \
		env -u CI INFERCAST_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -m hypothesis --ignore tests/cluster --ignore tests/bench \
			--hypothesis-seed=$$seed || { echo "again: make fuzz ROUNDS=1 SEED=$$seed EXAMPLES=$(EXAMPLES)"; exit 1; }; \
	done

# Doses that a usual test run has a tenth of, or none.
abuse: setup     ## Abuse the front door: ten thousand connections, schemathesis, fuzzed parsers, the running system
	@INFERCAST_CONNECTIONS=10000 INFERCAST_SCHEMATHESIS=30 $(BIN)/python -m pytest tests/abuse tests/cluster/test_x_abuse.py --timeout 1200
	@INFERCAST_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/abuse/test_parsers.py --timeout 1200

trouble: setup   ## Real faults upon one running system: SEED=7 repeats a run, TROUBLE_S=120 is how long it is troubled at random
	@seed=$${SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}; \
	echo "SEED=$$seed (again: make trouble SEED=$$seed)"; \
	SEED=$$seed INFERCAST_TROUBLE_S=$(or $(TROUBLE_S),120) $(BIN)/python -m pytest tests/trouble --timeout 1200 || \
		{ echo "again: make trouble SEED=$$seed"; exit 1; }

MINUTES ?= 30
soak: setup      ## A mixed run of MINUTES=30 under light faults: flat memory, nothing left open, books that add up (docs/soak.md)
	@$(BIN)/python bench/soak.py --minutes $(MINUTES) $(if $(DOCS),--write-docs docs/soak.md)

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP)
	@$(BIN)/mypy

contracts: $(STAMP)
	@$(BIN)/lint-imports --no-cache

BENCHED := .venv/.benched
$(BENCHED): $(STAMP) requirements-bench.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-bench.lock
	@touch $@

MILLIONS ?= 1
bench-decide: $(BENCHED)   ## Time the decision, beside LiteLLM's Router (MILLIONS=10: the published growth check)
	@$(BIN)/python bench/report.py --millions $(MILLIONS) --json .venv/bench-decide.json

# Ciw installs a package called `tests`, which would hide ours: it lies in a folder of its own.
CIW := ciw==3.2.7
PEERS := .venv/.peers
$(PEERS): $(BENCHED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .venv/peers $(CIW)
	@touch $@

bench-sim: $(BENCHED) $(PEERS)   ## Time the simulator, beside a bare kernel, SimPy and Ciw
	@$(BIN)/python bench/sim.py --json .venv/bench-sim.json

bench-queues: $(BENCHED)   ## Hold the simulator against queueing theory at twenty million calls a queue
	@$(BIN)/python bench/queues.py --json .venv/bench-queues.json

bench-calibration: $(STAMP)   ## Hold foretold times against a real cluster (ten minutes)
	@$(BIN)/python bench/calibration.py --json .venv/bench-calibration.json

# LiteLLM's proxy and vllm-router pin versions of their own.
LITELLM := litellm[proxy]==1.103.7
VLLM_ROUTER := vllm-router==0.1.17
PROXIES := .venv/.proxies
$(PROXIES): $(BENCHED)
	@test -x .venv/litellm/bin/python || $(BIN)/python -m venv .venv/litellm
	@.venv/litellm/bin/python -m pip install --quiet --disable-pip-version-check "$(LITELLM)"
	@test -x .venv/vllm-router/bin/python || $(BIN)/python -m venv .venv/vllm-router
	@.venv/vllm-router/bin/python -m pip install --quiet --disable-pip-version-check "$(VLLM_ROUTER)"
	@touch $@

CALLS ?= 20000
bench-serve: $(PROXIES)   ## Time calls, beside plain Ray Serve, HAProxy, vllm-router and LiteLLM's proxy (CALLS=200000: memory over so many)
	@$(BIN)/python bench/serve.py --calls $(CALLS) --json .venv/bench-serve.json

RERUNS ?= 10
calibrate: setup  ## Hold the simulator against the real system on this machine, and write the tables of docs/calibration.md
	@$(BIN)/infercast sim calibrate --reruns $(RERUNS) --write-docs docs/calibration.md

lock: $(STAMP)   ## Renew requirements.lock and requirements-bench.lock from pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate \
		--extra dev --output-file requirements.lock pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate \
		--extra dev --extra bench --constraint requirements.lock --output-file requirements-bench.lock pyproject.toml

clean:           ## Forget what was installed and built
	@rm -rf .venv .infercast build *.egg-info
