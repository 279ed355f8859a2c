# Two commands take a fresh machine from clone to running: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: venv servers run test test-integration test-others bench lint clean

venv: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]'
	touch $@

# The servers that tests start for themselves. Where both are there, nothing is installed.
servers:
	@PATH=$$PATH:/usr/sbin; command -v mariadbd >/dev/null && command -v redis-server >/dev/null || { \
		sudo=$$(test $$(id -u) = 0 || echo sudo); \
		$$sudo apt-get update -qq && \
		$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			mariadb-server redis-server default-libmysqlclient-dev pkg-config >/dev/null; }

run: venv
	$(BIN)/python -m dbgear_airflow_provider.sandbox $(if $(ONCE),--once)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Two processes at once; what each prints comes when it has ended.
test: lint servers
	@$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target test-integration test-others

test-integration:
	$(BIN)/python -m pytest tests/integration

test-others:
	$(BIN)/python -m pytest tests/unit tests/acceptance

bench: venv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .sandbox .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
