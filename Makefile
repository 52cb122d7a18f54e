# The verbs. Each sets up what it needs: a virtual environment in .venv, pinned by constraints.txt.

PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
RABBITMQ := /usr/lib/rabbitmq/bin/rabbitmq-server

.PHONY: demo up test check audit fuzz fix bench results servers clean
.DELETE_ON_ERROR:

demo: .venv/ready .cache/support.safetensors  ## the main job on a real model, in one process
	$(BIN)/fedkseed simulate examples/sentiment.toml --out runs/demo

up:  ## a federation of three clients in containers; needs Docker and its Compose plugin
	docker compose up

test: .venv/ready .cache/support.safetensors servers  ## everything that is tested
	$(BIN)/python -m pytest

check: .venv/ready  ## style, types, structure, dependencies
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pip check
	$(BIN)/python deploy/audit.py

audit:  ## known vulnerabilities of what is pinned; asks PyPI
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet pip-audit
	.venv-audit/bin/python deploy/audit.py --vulnerabilities

fuzz: .venv/ready  ## ten minutes of inputs that nobody should send
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz --minutes 10

fix: .venv/ready  ## what can be repaired automatically
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: .venv/ready .cache/sentiment .cache/support.safetensors servers  ## the claims about speed, bytes and memory: docs/performance.md
	$(BIN)/python -m benchmarks

results: .venv/ready  ## docs/results.md from the records of what was run; `python -m benchmarks.quality` runs what was not
	$(BIN)/python -m benchmarks.quality.page

servers:  ## RabbitMQ, Redis, Prometheus and what asks it from Debian's packages, where they are missing; tests start nodes of their own
	@if ! [ -x $(RABBITMQ) ] || ! command -v redis-server >/dev/null || ! command -v promtool >/dev/null \
	    || ! command -v prometheus-redis-exporter >/dev/null || ! command -v wget >/dev/null; then \
	  $(SUDO) apt-get update --quiet && \
	  $(SUDO) env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends \
	    rabbitmq-server redis-server prometheus prometheus-redis-exporter wget; \
	fi

clean:  ## what was built; downloads and converted models stay in .cache
	rm -rf .venv .venv-audit dist runs

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

.cache/sentiment: .venv/ready | examples/prepare.py
	$(BIN)/python examples/prepare.py sentiment
	touch -c $@

.cache/support.safetensors: .cache/sentiment
	$(BIN)/fedkseed support .cache/smollm2-135m --text .cache/shakespeare.txt --samples 32 --length 64 --out $@
