# Each of the targets works alone on a fresh clone: it makes .venv, compiles the hot path into the tree, and runs.

# The Python that a new .venv is made with: the first on the path that is new enough.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

PACKAGES := beamlike caps nodes cells drivers unikernels boot
HOT := beamlike/hot nodes/hot
TYPED := $(wildcard $(PACKAGES) tests examples benchmarks setup.py)

# What an install depends on, by content: neither a rename nor a checkout of older files leaves a stale extension module.
SOURCES := pyproject.toml setup.py nodes/build_ring.py nodes/ring.h nodes/ring.c cells/build_walls.py cells/walls.h cells/walls.c \
	unikernels/build_launch.py unikernels/launch.h unikernels/launch.c \
	drivers/build_portbus.py $(sort $(wildcard drivers/c/*.[ch] drivers/models/*.[ch])) \
	$(sort $(wildcard $(HOT:%=%/*.py) $(HOT:%=%/*.pxd) $(HOT:%=%/*.h)))
INSTALLED := .venv/installed-$(firstword $(shell cksum $(SOURCES) | cksum))

.PHONY: help demo test test-compiled test-pure check bench clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo    install into .venv and kill a node every second for 20 s; no acknowledged write is lost'
	@echo 'make test    all tests, with the hot path compiled and uncompiled (at the same time)'
	@echo 'make check   format, lint, types, and the direction of imports'
	@echo 'make bench   the benchmarks, next to other actor libraries'
	@echo 'make clean   remove .venv and everything that was built'
	@echo 'PYTHON=python3.13 chooses the interpreter of a new .venv'

demo: $(INSTALLED)
	@.venv/bin/beamlike demo

# A make of its own, because its jobs' outputs can be kept apart, and unlike a shell's background jobs they see Ctrl-C.
test: $(INSTALLED)
	@echo 'running the tests twice at the same time, compiled and uncompiled; each reports when it is done'
	@$(MAKE) --no-print-directory --keep-going --jobs=2 --output-sync=target test-compiled test-pure

# MAKEFLAGS would change what a `make` does that is run in a test. Tests start interpreters: without bytecode each compiles everything anew.
PYTEST := env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u BEAMLIKE_PURE -u PYTHONDONTWRITEBYTECODE

test-compiled: $(INSTALLED)
	@echo '== compiled hot path'
	@$(PYTEST) .venv/bin/pytest

test-pure: $(INSTALLED)
	@echo '== uncompiled hot path (BEAMLIKE_PURE=1)'
	@$(PYTEST) BEAMLIKE_PURE=1 .venv/bin/pytest -o cache_dir=.pytest_cache/pure

check: $(INSTALLED)-check
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy --strict $(TYPED)
	.venv/bin/lint-imports

bench: $(INSTALLED)-bench
	.venv/bin/python -m benchmarks processes
	.venv/bin/python -m benchmarks nodes

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -f $(HOT:%=%/*.so) $(HOT:%=%/*.c) nodes/*.so cells/*.so unikernels/*.so drivers/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Cython is not in .venv, only in pip's build environment: nothing that runs may need it.
$(INSTALLED): .venv/bin/python
	@.venv/bin/python -c 'import setup; setup.require_toolchain()'
	@echo 'installing into .venv and compiling the hot path'
	@rm -rf .venv/installed-* build $(HOT:%=%/*.so) nodes/*.so cells/*.so unikernels/*.so drivers/*.so
	@.venv/bin/pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

# An extra of the installed package: no second build.
$(INSTALLED)-%: $(INSTALLED)
	@echo 'installing the tools of $*'
	@.venv/bin/pip install --quiet --disable-pip-version-check 'beamlike[$*]'
	@touch $@

.venv/bin/python:
	@test -n '$(PYTHON)' || { echo 'beamlike needs Python 3.11 or newer; python3 here is' \
		"$$(python3 --version 2>/dev/null || echo missing): install one, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import setup; setup.require_toolchain()'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo 'beamlike needs venv: apt-get install python3-venv (Debian, Ubuntu)'; exit 1; }
	@$(PYTHON) -m venv .venv
