# `make demo` and `make test` set up everything that they need on a new machine.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
V := .venv/bin
SEED ?= 1
DEVICES ?= 50
PYTEST ?= $(V)/python -m pytest
# Three worker processes: tests wait for real servers more than they compute.
WORKERS ?= 3

.PHONY: demo check test acceptance judge peers bench-peers bench lock

demo: .venv/.runtime  ## run the quickstart scenario on loopback; HEADLESS=1 checks the end state and exits; SEED, DEVICES, DIR, SUMMARY
	@$(V)/python manage.py quickstart --seed $(SEED) --devices $(DEVICES) $(if $(HEADLESS),--headless) $(if $(DIR),--dir $(DIR)) $(if $(SUMMARY),--summary $(SUMMARY))

check: .venv/.dev  ## check style, types, words, import contracts, migrations and templates
	$(V)/ruff check .
	$(V)/ruff format --check .
	$(V)/mypy -p fleet -p ota -p devices -p pki
	$(V)/codespell fleet ota devices pki tests docs docker README.md CONTRIBUTING.md Makefile
	$(V)/lint-imports
	FLEET_DIR=$$(mktemp -d) $(V)/python manage.py makemigrations --check --dry-run
	FLEET_DIR=$$(mktemp -d) $(V)/python -W ignore manage.py check --deploy --fail-level WARNING
	$(V)/djlint fleet --lint --quiet
	$(V)/yamllint --strict docker
	$(V)/hadolint docker/Dockerfile
	$(V)/shellcheck docker/entrypoint .ci/run requirements/lock.sh tests/peers/*.sh
	$(PYTEST) tests/architecture --ignore tests/architecture/test_lives.py

test: check  ## run all tests on SQLite and PostgreSQL, with real peers and a real browser
	$(PYTEST) -n $(WORKERS) --durations 10
	MUSTER_TEST_DATABASE=postgresql $(PYTEST) -n $(WORKERS)

acceptance: .venv/.dev  ## run the acceptance suite: long tests with full counts; results in `docs/reference/judged/`
	$(V)/python -m tests.acceptance

judge: acceptance  ## former name of acceptance

peers:  ## install the third-party programs that tests use (Debian packages)
	@bash tests/peers/install.sh

bench-peers:  ## install what `make bench NAME=listeners` compares with, in addition to the peers
	@bash tests/peers/install-bench.sh

bench: .venv/.dev  ## run a benchmark: NAME=… [JSON=file]
	$(V)/python manage.py bench $(NAME) $(if $(JSON),--json $(JSON))

lock: .venv/.dev  ## regenerate requirements/*.txt from pyproject.toml
	bash requirements/lock.sh $(V)/uv

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Muster needs Python 3.11 or newer with venv (Debian: apt install python3-venv)."; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.runtime: requirements/runtime.txt | .venv/bin/python
	$(V)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.txt
	@touch $@

.venv/.dev: requirements/dev.txt | .venv/bin/python
	$(V)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@ .venv/.runtime
