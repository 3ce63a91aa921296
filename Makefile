# Two commands matter: `make demo` and `make test`. `make help` lists the rest.
# ARGS reaches the program behind a target: make test ARGS="-k merkle", make demo ARGS="--serve".

SHELL := /bin/sh
.DEFAULT_GOAL := help
BIN := .venv/bin
ARGS ?=

.PHONY: help demo test test-slow test-api test-interop test-bridges fuzz coverage check proto docs bench clean install-demo install-dev

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: install-demo ## A whole consortium on this machine, one real joint question, verified; see build/demo
	$(BIN)/parley demo --out build/demo $(ARGS)

test: install-dev ## The test suite, on SQLite, PostgreSQL and MariaDB
	@scripts/test $(ARGS)

test-slow: install-dev ## The tests that take long: kills at every step, images, restarts, damaged files, fuzzing
	@scripts/test -m slow $(ARGS)

test-interop: install-dev ## The interoperation tests, with Go's implementation too (Debian packages)
	@scripts/interop $(ARGS)

test-bridges: install-dev ## Apps of other frameworks, in an environment of their own (build/flower)
	@scripts/bridges $(ARGS)

test-api: install-dev ## The interfaces against their OpenAPI documents, every boundary: make test-api ARGS=20 (requests each)
	@PARLEY_API_EXAMPLES=$(or $(ARGS),10) $(BIN)/python -P -m pytest -q tests/integration/test_exchange_api_fuzz.py

fuzz: install-dev ## Fuzz every parser of outside bytes: make fuzz ARGS="600 note policy" (seconds, parsers)
	$(BIN)/python -P tests/fuzz/fuzz_parsers.py $(ARGS)

coverage: install-dev ## Branch coverage of the Merkle, note, canonical and validity modules: all of it, or it fails
	@scripts/coverage

check: install-dev ## Lint, format, types, layers, generated files, documents
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --no-cache --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -P scripts/proto.py --check
	$(BIN)/python -P scripts/settings_table.py --check
	$(BIN)/python -P scripts/components_page.py --check
	$(BIN)/python -P -m pytest -q -m "not slow" tests/docs tests/architecture

proto: install-dev ## Generate the gRPC stubs from the .proto files
	$(BIN)/python -P scripts/proto.py

docs: install-dev ## Generate the tables in docs/ that come from the code and from benchmarks
	$(BIN)/python -P scripts/settings_table.py
	$(BIN)/python -P scripts/components_page.py
	$(BIN)/python -P scripts/benchmarks_page.py

bench: install-dev ## Run every benchmark; bench-AREA runs one (see benchmarks/)
	@set -e; for area in $(filter-out run,$(patsubst benchmarks/%.py,%,$(wildcard benchmarks/*.py))); do $(MAKE) bench-$$area; done

bench-%: install-dev
	$(BIN)/python -P benchmarks/run.py $* $(ARGS)

clean: ## Remove what was built, the environment included
	rm -rf build dist *.egg-info .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

install-demo:
	@scripts/install demo

install-dev:
	@scripts/install dev
