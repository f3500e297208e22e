# Everything a newcomer or CI needs. `make up` for a running machine, `make test` for proof.

PYTHON  ?= python3
VENV    ?= .venv
IMAGE   ?= debian
MACHINE ?= first
BIN     := $(VENV)/bin
SUDO    := $(if $(filter 0,$(shell id -u)),,sudo)

export PATH := $(CURDIR)/$(BIN):$(PATH):/usr/sbin:/sbin

.PHONY: help setup up test check bench fmt lock

help:  ## Show these targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

setup: $(VENV)/.ready  ## Install missing Debian packages and the Python environment
	@SUDO="$(SUDO)" sh packaging/install-packages run

$(VENV)/.ready: packaging/requirements.txt packaging/requirements-dev.txt pyproject.toml
	@SUDO="$(SUDO)" sh packaging/install-packages base
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Python packages"
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check --require-hashes --no-deps \
		--requirement packaging/requirements-dev.txt
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

# The real clients of clouds, for tests alone: 0.5 GB that a machine in a hurry does not wait for.
$(VENV)/.clients: $(VENV)/.ready packaging/requirements-clients.txt
	@echo "installing clients of clouds"
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check --require-hashes --no-deps --no-compile \
		--requirement packaging/requirements-clients.txt
	@touch $@

up: setup  ## A running machine called `first`, configured and ready to enter
	@sh packaging/up $(IMAGE) $(MACHINE)

check: $(VENV)/.clients  ## Lint, types, floors, and the fast tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q -m "not vm" --numprocesses 4 --dist worksteal

test: setup  ## Everything: `check` and the tests with real machines
	@SUDO="$(SUDO)" sh packaging/install-packages test
	@$(MAKE) --no-print-directory check
	@$(BIN)/python -m pytest -q -m vm --numprocesses 3 --dist loadfile --no-loadscope-reorder --durations 30 --durations-min 20

bench: setup  ## Measure against bare QEMU and libvirt; prints tables (takes long)
	@SUDO="$(SUDO)" sh packaging/install-packages bench
	@$(BIN)/python -m bench

fmt: $(VENV)/.ready  ## Format the code
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

lock:  ## Pin the Python packages anew, with hashes and without index addresses
	@$(BIN)/pip install --quiet pip-tools
	@cd packaging && ../$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-header \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-annotate \
		--output-file requirements.txt ../pyproject.toml
	@cd packaging && ../$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-header --allow-unsafe \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-annotate \
		--output-file requirements-dev.txt requirements-dev.in
	@cd packaging && ../$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-header --allow-unsafe \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-annotate \
		--output-file requirements-clients.txt requirements-clients.in
