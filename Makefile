# make study: set up and run the first studies      make test: set up and test      make check: all that CI checks
PYTHON ?= python3
BIN := .venv/bin
STUDIES := coconut_clipping coconut_exploding coconut_exploding_gru coconut_exploding_lstm

.PHONY: help study test check format clean

help:
	@sed -n '1p' Makefile | cut -c3-

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "rnnstudy needs Python 3.11 or newer; make study PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Installing into .venv; this takes a minute or two."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[cluster]'
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

study: .venv/installed
	@set -e; for study in $(STUDIES); do \
		$(BIN)/rnnstudy train experiment=$$study hydra/launcher=joblib; \
		$(BIN)/rnnstudy compare outputs/$$study; \
	done
	@for study in $(STUDIES); do \
		echo; \
		echo "Report:           $(CURDIR)/outputs/$$study/report/report.html"; \
		echo "TensorBoard logs: $(CURDIR)/outputs/$$study   (to see them: $(BIN)/rnnstudy board outputs/$$study)"; \
	done

# Modules are compiled once, not in every process that tests start.
test check: export PYTHONDONTWRITEBYTECODE =

test: .venv/installed-dev
	$(BIN)/pytest -q -n auto --dist worksteal

check: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/python scripts/prose.py
	$(BIN)/pyright --project pyproject.toml
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n auto --dist worksteal -m 'slow or not slow'

format: .venv/installed-dev
	$(BIN)/python scripts/stubs.py
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python scripts/member_tables.py

clean:
	rm -rf .venv
