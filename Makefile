# Every target sets up what it needs; on a fresh machine only Python 3.11+, a C compiler and make are assumed.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
OUT ?= runs/demo
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := 1

.DEFAULT_GOAL := help
.PHONY: help setup run test test-slow lint types serve compile images sbom bench clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

setup: $(STAMP)  ## make .venv and install everything into it

$(STAMP): pyproject.toml constraints.txt
	@PYTHON=$(PYTHON) bash infra/setup.sh $(VENV)
	@touch $@

run: setup  ## the whole pipeline on this machine, on phantoms (OUT=runs/demo)
	@$(BIN)/glioflow run --profile demo --out $(OUT)

test: setup lint types  ## lint, types and the fast tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: setup  ## the tests that take minutes
	@HYPOTHESIS_PROFILE=explore $(BIN)/python -m pytest -m slow

lint: setup  ## style, formatting, rules of the source tree, dead code
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/python infra/check_tree.py

types: setup  ## mypy
	@$(BIN)/mypy

serve: setup  ## a local Triton server with the release of OUT
	@$(BIN)/glioflow serve --run $(OUT)

compile: setup  ## the Kubeflow pipeline as IR YAML (build/pipeline.yaml)
	@$(BIN)/glioflow compile --profile paper --out build/pipeline.yaml

images: setup  ## build the container images
	@bash infra/docker/build.sh

sbom: setup  ## what .venv and the package are made of, as CycloneDX (build/sbom.json)
	@mkdir -p build && $(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file build/sbom.json $(BIN)/python
	@$(BIN)/python -m infra.sbom build/sbom.json

bench: setup  ## time preprocessing, training and serving on this machine
	@$(BIN)/glioflow bench

clean:  ## remove what make made (.venv, build, caches), not runs/
	@rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache *.egg-info
