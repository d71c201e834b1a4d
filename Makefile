# make demo   sets up .venv, then trains, quantizes, verifies and benches on synthetic cells
# make test   sets up .venv, then runs the linters and the test suite
# make test-slow   runs what takes minutes: kills and resumes, several processes, browsers and emulators
# make test-peers   also installs the runtimes of 'edgecell peers', and runs the tests that need them
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: venv demo test test-peers test-slow lint wheel clean

venv: $(VENV)/.installed

$(VENV)/.installed: constraints.txt setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "edgecell needs Python 3.11 or newer, this is %d.%d; set PYTHON=python3.11" % v[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	# medmnist's own requirements include torch; its table of data sets needs none of them.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps medmnist
	touch $@

demo: venv
	$(BIN)/edgecell demo

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Two processes, each with whole files: most tests use one core, and fixtures are made once for a file.
test: lint
	$(BIN)/pytest -m "not slow" --numprocesses 2 --dist loadfile

test-peers: venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[peers]"
	$(BIN)/pytest tests/unit/benchmarks/peers tests/e2e/test_peers.py

test-slow: venv
	$(BIN)/pytest -m slow

wheel: venv
	rm -rf dist
	$(BIN)/python -m build --wheel --outdir dist .

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
