# The verbs. Each sets up what it needs: a virtual environment in .venv, pinned by constraints.txt.

PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test check fix bench clean
.DELETE_ON_ERROR:

demo: .venv/ready .cache/support.safetensors  ## the main job on a real model, in one process
	$(BIN)/fedkseed simulate examples/sentiment.toml --out runs/demo

test: .venv/ready  ## everything that is tested
	$(BIN)/python -m pytest

check: .venv/ready  ## style, types, structure
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: .venv/ready  ## what can be repaired automatically
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: .venv/ready .cache/sentiment  ## the claims about speed
	$(BIN)/python -m benchmarks.step
	$(BIN)/python -m benchmarks.rebuild

clean:  ## what was built; downloads and converted models stay in .cache
	rm -rf .venv dist runs

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

.cache/sentiment: .venv/ready | examples/prepare.py
	$(BIN)/python examples/prepare.py sentiment
	touch -c $@

.cache/support.safetensors: .cache/sentiment
	$(BIN)/fedkseed support .cache/smollm2-135m --text .cache/shakespeare.txt --samples 32 --length 64 --out $@
