# Listo. `make help` lists what there is.
.DEFAULT_GOAL := help
.SUFFIXES:
SHELL := /bin/sh

# The first Python that is new enough makes the virtual environment.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := $(CURDIR)/.venv
PY := $(VENV)/bin/python
LOCK := services/api/requirements-dev.txt
STAMP := $(VENV)/.installed
export PYTHONPATH := $(CURDIR)/services/api:$(CURDIR):$(CURDIR)/tests$(if $(PYTHONPATH),:$(PYTHONPATH))
ifneq ($(PORT),)
export PORT
else
# Some programs take an empty PORT for a value.
unexport PORT
endif

STACK := $(or $(PYTHON),python3) -m infra.stack

.PHONY: help setup dev demo listo engine up down destroy rotate ps logs alerts shell-db firewall test test-stack test-large test-keys \
	test-rotation test-crash test-model test-busy test-rows test-pocketbase compare-answers lint fmt lock docs dashboards bench-api bench-guard bench-growth bench-search bench-soak bench-edge bench-login-flood bench-protections bench-overload drill clean bench

##@ Use

dev: setup ## Run the API on an embedded PostgreSQL (PORT=8000)
	@cd services/api && exec $(PY) -m app.dev

demo: setup ## Load 36,000 real records into a running `make dev` and show queries
	@exec $(PY) -m examples.demo

listo: ## The command line, in `make dev` or else in the stack (ARGS="collections get books")
	@exec ./listo $(ARGS)

##@ Run the stack

engine: ## Install and start a Docker engine where none runs (Debian 12, 13)
	@infra/engine/install.sh

up: ## Start everything behind HTTPS, or bring the stack up to date (REPLICAS=3, FRESH=1)
	@exec $(STACK) up

down: ## Stop the stack, keep the data
	@exec $(STACK) down

destroy: ## Stop the stack and remove all data; asks first (YES=1: does not)
	@exec $(STACK) $(if $(YES),destroy-now,destroy)

rotate: ## Give a secret of the stack another value (SECRET=postgres_app_password; without: the list)
	@exec $(STACK) rotate

ps: ## The services of the stack
	@docker compose ps --all

logs: ## The lines of its services (SERVICE=api)
	@docker compose logs --follow --tail 100 $(SERVICE)

alerts: ## The alerts that fire in the stack
	@exec $(STACK) alerts

shell-db: ## psql in the database of the stack
	@exec $(STACK) shell-db

firewall: ## Let in HTTP, HTTPS and SSH only (DRY_RUN=1; ACTION=confirm|off|status)
	@exec $(PYTHON) -m infra.firewall $(if $(DRY_RUN),plan,$(or $(ACTION),apply))

##@ Work on it

test: setup ## Run all tests, in parallel and in random order
	@$(PY) -m pytest

test-stack: setup ## Test the running stack over HTTPS
	@LISTO_STACK=1 $(PY) -m pytest tests/stack -n0

test-large: setup ## Test the running stack with records of 16 MiB, which it takes meanwhile
	@MAX_RECORD_BYTES=16777216 MAX_BODY_BYTES=20971520 API_MEMORY=1g $(STACK) up
	@RECORD_BYTES=16777216 LISTO_STACK=1 $(PY) -m pytest tests/stack/test_large_records.py -n0; \
		status=$$?; $(STACK) up && exit $$status

test-keys: setup ## One idempotency key, 50 clients, a replica of the stack killed, ROUNDS=200 times
	@LISTO_STACK=1 ROUNDS=$${ROUNDS:-200} $(PY) -m pytest tests/stack/test_idempotency.py -n0 -s

test-rotation: setup ## Every secret of the running stack gets another value, while clients work
	@LISTO_STACK=1 ROTATE=1 $(PY) -m pytest tests/stack/test_rotation.py -n0 -s

test-crash: setup ## kill -9 under a writing load, ROUNDS=20 times
	@ROUNDS=$${ROUNDS:-20} $(PY) -m pytest tests/crash -n0

test-model: setup ## Compare three processes with a model, EXAMPLES=500 random sessions
	@EXAMPLES=$${EXAMPLES:-500} $(PY) -m pytest tests/model -n0 -s

test-busy: setup ## The whole suite ROUNDS=10 times, while a loop takes all of one core
	@exec $(PY) tools/beside_a_busy_loop.py $${ROUNDS:-10}

test-rows: setup ## Filters and walks over 6,000 real rows
	@ROWS=$${ROWS:-6000} $(PY) -m pytest tests/api/test_real_rows.py

test-pocketbase: setup ## Take over the data of the real PocketBase, which it installs (RECORDS=10000)
	@POCKETBASE=1 $(PY) -m pytest tests/pocketbase -n0

compare-answers: setup ## Send the same requests to this code and to a commit's, and show other answers (BEFORE=main; SEED=2; KEEP=folder)
	@exec $(PY) -m bench.answers $(if $(SEED),--seed '$(SEED)') $(if $(KEEP),--keep '$(KEEP)') -- '$(BEFORE)'

lint: setup ## Check style, types, layers, added prose, and that generated files and the lock are current
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-cache
	@$(PY) tools/plain_english.py
	@$(PY) tools/lock.py --check
	@$(PY) -m app.dev.settings_docs --check
	@$(PY) -m infra.grafana.dashboards --check

fmt: setup ## Format the code and mend what can be mended
	@$(VENV)/bin/ruff check --fix-only --quiet
	@$(VENV)/bin/ruff format --quiet

lock: setup ## Renew the locked dependencies
	@$(PY) tools/lock.py

docs: setup ## Write .env.example and docs/settings.md anew
	@$(PY) -m app.dev.settings_docs

dashboards: setup ## Write Grafana's dashboards anew
	@$(PY) -m infra.grafana.dashboards

##@ Measure

bench: setup ## Compare with other backends, which it installs (QUICK=1: in 15 min; ITEMS="get list"; PEERS="kinto"; ARGS=--help)
	@exec $(PY) -m bench.peers $(if $(QUICK),--quick) $(if $(ITEMS),--items '$(ITEMS)') $(if $(PEERS),--peers '$(PEERS)') $(ARGS)

bench-api: setup ## Compare with a bare FastAPI + asyncpg application (needs wrk and redis-server)
	@exec $(PY) -m bench.api

bench-guard: setup ## Fail where this code is slower than a commit's (BASE=main; OPERATIONS="get list"; CONNECTIONS="16 64"; ROUNDS=15; SAME=1 compares BASE with itself; needs wrk and redis-server)
	@exec $(PY) -m bench.guard $(if $(SAME),--same) $(if $(OPERATIONS),--operations $(OPERATIONS)) \
		$(if $(CONNECTIONS),--connections $(CONNECTIONS)) $(if $(ROUNDS),--rounds $(ROUNDS)) -- '$(BASE)'

bench-growth: setup ## Latency and memory as records, collections, users, pages and connections grow (SIZES="10000 1000000 10000000"; DIMENSIONS="records pages"; WRITE=1 writes docs/performance.md; needs wrk and redis-server)
	@exec $(PY) -m bench.growth $(if $(SIZES),--sizes $(SIZES)) $(if $(DIMENSIONS),--dimensions $(DIMENSIONS)) \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(WRITE),--write)

bench-search: setup ## How long searches of a million records take, and how misspelt words are corrected (RECORDS=1000000; SECONDS=10; needs wrk and redis-server)
	@exec $(PY) -m bench.search $(if $(RECORDS),--records $(RECORDS)) $(if $(SECONDS),--seconds $(SECONDS))

bench-soak: setup ## A mixed load for MINUTES=60, and whether memory, latency or tables grow (WRITE=1 writes docs/performance.md; needs redis-server and, as all of these, a quiet machine)
	@exec $(PY) -m bench.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(EVERY),--every $(EVERY)) \
		$(if $(WRITE),--write)

bench-edge: setup ## What TLS and nginx take of the replicas' throughput (needs the stack and wrk)
	@exec $(PY) -m bench.edge

bench-protections: setup ## What each protection costs (needs wrk and redis-server)
	@exec $(PY) -m bench.protections

bench-overload: setup ## Many connections, and more than can be served (needs wrk and redis-server)
	@exec $(PY) -m bench.overload

bench-login-flood: setup ## Reads under a flood of log-ins (needs wrk and redis-server)
	@exec $(PY) -m bench.login_flood

drill: ## Cause faults in the running stack and time its alerts (DRILL=redis, or all; without: the list)
	@exec $(PYTHON) -m infra.prometheus.drill $(DRILL) --markdown

##@ Other

clean: ## Remove the virtual environments and caches, keep data
	@rm -rf $(VENV) .bench .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

setup: $(STAMP)

$(STAMP): $(LOCK) services/api/pyproject.toml
	@test "$(words $(CURDIR))" = 1 || { echo "make: there is a space in $(CURDIR), which make cannot handle; move it." >&2; exit 1; }
	@test -w . || { echo "make: cannot write to $(CURDIR)." >&2; exit 1; }
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer is needed, and there is none." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) lacks venv (Debian: apt-get install python3-venv)." >&2; exit 1; }
	@echo "Installing into .venv (once) …"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(LOCK)
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e services/api
	@touch $@

# In colour on a terminal only, and within its 80 columns.
help: ## Show this list
	@if [ -t 1 ] && [ -z "$$NO_COLOR" ]; then b=$$(printf '\033[1m'); c=$$(printf '\033[36m'); e=$$(printf '\033[0m'); fi; \
	awk -v b="$$b" -v c="$$c" -v e="$$e" 'BEGIN {FS = ":.*## "} \
		/^##@/ {print "\n" b substr($$0, 5) e} \
		/^[a-z-]+:.*## / {line = sprintf("  %smake %-18s%s", c, $$1, e); at = 25; n = split($$2, words, " "); \
			for (i = 1; i <= n; i++) { \
				if (at + length(words[i]) + 1 > 80) {line = line "\n" sprintf("%25s", ""); at = 25} \
				line = line (i > 1 && at > 25 ? " " : "") words[i]; at += length(words[i]) + (at > 25 ? 1 : 0)} \
			print line}' $(MAKEFILE_LIST)
