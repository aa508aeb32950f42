# `make demo` and `make test` are all that a newcomer needs; `make help` lists the rest.
SHELL := /bin/bash
PYTHON := .venv/bin/python
ARGS ?=
NAME ?=
# Test files run side by side in so many processes.
TEST_PROCESSES ?= 2
TEST_PACKAGES := chromium postgresql redis-server haproxy prometheus prometheus-alertmanager
LONG_PACKAGES := podman buildah runc netavark aardvark-dns catatonit uidmap mmdebstrap iptables

SIDE_BY_SIDE = -n $(TEST_PROCESSES) --dist loadfile

# Without bytecode on disk each process compiles its libraries anew, which doubles its start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo check test test-long bench lock docs format environment environment-dev

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

environment:
	@deploy/environment.sh requirements.lock

environment-dev:
	@deploy/environment.sh requirements-dev.lock

demo: environment ## start the whole product on embedded tracks (ARGS="--speed 4", "--headless --until-healthy")
	@$(PYTHON) -m deploy.demo $(ARGS)

check: environment-dev ## lint, types, import contracts, fast tests
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@.venv/bin/lint-imports --no-logo
	@$(PYTHON) -m mypy
	@$(PYTHON) -m pytest -q $(SIDE_BY_SIDE) -m "not slow and not long and not e2e" tests

test: environment-dev ## everything: installs what the tests need, then lint, types, contracts and the whole suite
	@deploy/system_packages.sh $(TEST_PACKAGES)
	@$(MAKE) --no-print-directory check
	@$(PYTHON) -m pytest -q $(SIDE_BY_SIDE) -m "(slow or e2e) and not long" tests

test-long: environment-dev ## what takes longer: containers; the result is kept in docs/test-long.md
	@deploy/system_packages.sh $(TEST_PACKAGES) $(LONG_PACKAGES)
	@$(PYTHON) -m deploy.test_long

bench: environment-dev ## all benchmarks, or one: make bench NAME=serve_hot_path
	@$(PYTHON) -m benchmarks $(NAME)

docs: environment-dev ## regenerate what is generated: openapi.json, settings and error reference, benchmark table, comparison
	@$(PYTHON) -m docs.generate

lock: ## resolve the dependencies anew, with hashes
	@deploy/lock.sh

format: environment-dev ## format the code
	@$(PYTHON) -m ruff check --fix-only -q . && $(PYTHON) -m ruff format .
