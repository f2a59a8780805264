# make demo    set up and run the main job, then open the dashboard on it
# make test    set up and run the tests
# make check   format, lint, types, import contracts, and the tests unless they passed on just these files
# make faults  faults and hostile files, many rounds (make test runs two)
# make bench   the figures: one JSON line each
# make fmt     format and fix what can be fixed

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PASSED := $(VENV)/.passed
FILES  := git ls-files -coz --exclude-standard 2>/dev/null | xargs -0r sha256sum
WORKERS ?= 2
ROUNDS ?= 50

.PHONY: demo test check faults bench fmt clean

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; say which: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "setting up $(VENV) (a few minutes the first time) ..." >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[torch,dev,frameworks]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/python examples/demo.py

test: $(STAMP)
	@rm -f $(PASSED); $(FILES) >$(PASSED).now 2>&1 || true
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
	@mv $(PASSED).now $(PASSED)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@if test -s $(PASSED) && test $(PASSED) -nt $(STAMP) && $(FILES) 2>&1 | cmp -s - $(PASSED); then \
		echo "the tests passed on just these files already; make test runs them again"; \
	else $(MAKE) --no-print-directory test; fi

faults: $(STAMP)
	CKPTD_FAULT_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -o timeout=3600 \
		tests/faults tests/sdk/formats/test_hostile_*.py tests/acceptance/test_hostile_root.py

bench: $(STAMP)
	@for bench in tests/bench/bench_*.py; do $(BIN)/python $$bench || exit 1; done

fmt: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf demo $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist
