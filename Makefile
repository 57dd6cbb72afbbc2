# `make` lists the targets. Everything runs in .venv, which `make` sets up when its requirements change.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Variables given to make reach the program through its environment, never as text for the shell.
OF_PROGRAMS := EPOCHS BATCH_SIZE LEARNING_RATE MAX_SEQ_LENGTH VOCAB_SIZE CORPUS RESUME NAME GRID JOBS REMOTE
export $(OF_PROGRAMS)

# A misspelt variable would be passed over in silence, and `make train EPOCH=5` train all epochs.
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
KNOWN := $(OF_PROGRAMS) PYTHON PYTEST GUTENBERG_MIRRORS
ifneq ($(filter-out $(KNOWN),$(GIVEN)),)
$(error there is no variable $(filter-out $(KNOWN),$(GIVEN)); there are $(KNOWN))
endif

ifeq ($(origin NAME),environment)
NAME := # WSL keeps the name of the machine there
endif

QUICK := --data-dir runs/quick
WORKERS := -n 2

.PHONY: help setup setup-dev check train quick example sweep compare watch share bench verify test test-full test-export lint status metrics plots clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Variables of train: EPOCHS BATCH_SIZE LEARNING_RATE MAX_SEQ_LENGTH VOCAB_SIZE CORPUS=/path/to/text.txt RESUME=no"

setup: ## Make .venv with the pinned requirements (part of every other target)
	@$(PYTHON) scripts/setup_venv.py

setup-dev:
	@$(PYTHON) scripts/setup_venv.py --dev

check: setup ## Check the prerequisites, all in one list
	@python -m minimal_llm.pipeline.preflight

train: setup ## Do everything: check, download, tokenizer, train, validate, report
	@python -m minimal_llm.pipeline.repro

quick: setup ## The whole pipeline on the embedded primer in about a minute, into runs/quick
	@python stages/download.py $(QUICK) --source primer --primer-megabytes 1
	@python stages/tokenizer.py $(QUICK) --vocab-size 2000
	@python stages/train.py $(QUICK) --epochs 5 --batch-size 8 --dropout 0
	@python stages/validate.py $(QUICK)

example: setup ## Run a recipe of examples/: make example NAME=low-memory. Without NAME: list them
	@python -m minimal_llm.experiments.example

sweep: setup ## Run every combination of a grid: make sweep GRID=examples/sweep.yaml JOBS=2
	@python -m minimal_llm.experiments.sweep

compare: setup ## The workspace, the last commit and all experiments in a table and a picture, runs/compare.png
	@python -m minimal_llm.experiments.compare

watch: setup ## How training stands, live, from another terminal
	@python -m minimal_llm.experiments.watch

share: setup ## Push the results for others to pull: make share REMOTE=/path/to/a/folder (or ssh://, s3://)
	@python -m minimal_llm.experiments.share

bench: setup ## Time a training step against the obvious program and the limit of the machine
	@python benchmarks/train_step.py

verify: setup ## Train once more into runs/verify and compare with what dvc.lock records
	@python -m minimal_llm.pipeline.verify

test: setup-dev ## Run the test suite
	@python -m pytest $(WORKERS) $(PYTEST)

test-full: setup-dev ## Run the test suite with what takes minutes
	@python -m pytest $(WORKERS) -m "" $(PYTEST)

test-export: ## Load every export with the program that it is made for, in an environment of its own
	@$(PYTHON) scripts/setup_venv.py --export
	@.venv-export/bin/python -m pytest tests/interop $(PYTEST)

lint: setup-dev ## Check style and types
	@ruff check .
	@ruff format --check .
	@lint-imports --no-cache > /dev/null || lint-imports --no-cache
	@mypy
	@mypy stages/*.py scripts/*.py --scripts-are-modules --explicit-package-bases
	@MYPYPATH=src:benchmarks mypy benchmarks/*.py --scripts-are-modules --explicit-package-bases

status: setup ## What the last run did, and what DVC would do now
	@python -m minimal_llm.pipeline.repro status

metrics: setup ## The metrics here, and how they differ from the last commit
	@dvc metrics show && dvc metrics diff

plots: setup ## Draw the plots of DVC into dvc_plots/index.html
	@dvc plots show

clean: setup ## Delete what the pipeline made; asks first
	@python -m minimal_llm.pipeline.clean
