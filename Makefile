# Short names for the usual commands; CONTRIBUTING.md explains them.
.DEFAULT_GOAL := help
.PHONY: help setup test-fast test coverage lint format benchmark dist ci

bin := .venv/bin

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

setup: $(bin)/pytest ## make the virtual environment with tests and linters

$(bin)/pytest: pyproject.toml
	python3 -m venv .venv
	$(bin)/pip install --quiet --editable '.[test,lint]'
	touch $@

test-fast: setup ## the tests that take milliseconds
	$(bin)/pytest -m "not slow" -q

test: setup ## all tests
	$(bin)/pytest

coverage: setup ## all tests, with their coverage
	$(bin)/pytest --cov --cov-report=term-missing:skip-covered

lint: setup ## ruff, mypy and the contracts of the imports, as CI runs them
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/lint-imports

format: setup ## sort imports and format the code
	$(bin)/ruff check --select I --fix .
	$(bin)/ruff format .

benchmark: setup ## measure everything again and write docs/performance.md (half an hour)
	$(bin)/python -m benchmarks

dist: setup ## build the sdist and the wheel into dist/
	$(bin)/pip install --quiet build
	$(bin)/python -m build

ci: ## everything that must pass before main moves; run it in a fresh clone
	bash .ci/run
