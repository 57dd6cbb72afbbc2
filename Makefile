# Set-up, and a short form of each command. Everything runs in .venv, which `make` updates when requirements change.
.DEFAULT_GOAL := help
# Not /bin/sh: make 3.81, that of macOS, would start plain commands without a shell, and without the PATH set here.
SHELL := /bin/bash
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# DVC keeps pickles there, by default in /var/tmp/dvc, where every user of the machine can change them.
export DVC_SITE_CACHE_DIR ?= $(CURDIR)/.dvc/tmp/site
# The recipes read the variables given to make from their environment: a value never becomes text of the shell.
VARIABLES := EPOCHS BATCH_SIZE LEARNING_RATE MAX_SEQ_LENGTH VOCAB_SIZE CORPUS NPROC RESUME NAME GRID JOBS SEEDS REMOTE
export $(VARIABLES)

# A misspelled variable would be ignored without a word, and `make train EPOCH=5` train all epochs.
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
KNOWN := $(VARIABLES) PYTHON PYTEST GUTENBERG_MIRRORS
ifneq ($(filter-out $(KNOWN),$(GIVEN)),)
$(error there is no variable $(filter-out $(KNOWN),$(GIVEN)); the variables are $(KNOWN))
endif

ifeq ($(origin NAME),environment)
NAME := # on WSL, that is the name of the machine
endif

# $(call option,EPOCHS,epochs) is --epochs="$EPOCHS" for the shell, or nothing where the variable is not given.
option = $(if $(value $1),--$2="$$$1")
PARAMETERS = $(call option,EPOCHS,epochs) $(call option,BATCH_SIZE,batch-size) \
	$(call option,LEARNING_RATE,learning-rate) $(call option,MAX_SEQ_LENGTH,max-seq-length) \
	$(call option,VOCAB_SIZE,vocab-size) $(call option,CORPUS,corpus-path) $(call option,NPROC,processes)
UNFINISHED = $(if $(value RESUME),$(or $(if $(filter yes Yes YES,$(value RESUME)),--resume),\
	$(if $(filter no No NO,$(value RESUME)),--restart),\
	$(error RESUME=$(value RESUME) is not yes or no. What to do: make train RESUME=no)))

# A Python that is given must be that of the environment; python3, the default, only makes one where there is none.
SETUP := scripts/setup_venv.py $(if $(filter-out file,$(origin PYTHON)),--this-python)
QUICK := --data-dir runs/quick
WORKERS := -n 2

.PHONY: help setup setup-dev check train quick example sweep compare watch share page bench verify test test-full test-export docs docs-serve notebooks lint status metrics plots clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s%s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Variables of train, example, sweep: EPOCHS BATCH_SIZE LEARNING_RATE MAX_SEQ_LENGTH VOCAB_SIZE CORPUS NPROC RESUME"
	@echo "  All commands, with their options:   .venv/bin/minimal-llm --help"

setup: ## Create or update .venv with the pinned requirements (part of every other target)
	@$(PYTHON) $(SETUP)

setup-dev:
	@$(PYTHON) $(SETUP) --dev
	@python scripts/fetch_axe.py

check: setup ## Check parameters and prerequisites
	@minimal-llm check

train: setup ## Run the whole pipeline: check, download, tokenizer, train, validate, report
	@minimal-llm train $(UNFINISHED) $(PARAMETERS)

quick: setup ## Run the whole pipeline small, on the embedded primer, in about a minute, into runs/quick
	@python stages/download.py $(QUICK) --source primer --primer-megabytes 1
	@python stages/tokenizer.py $(QUICK) --vocab-size 2000
	@python stages/train.py $(QUICK) --epochs 6 --batch-size 8 --dropout 0 --input-mask 0 --weight-decay 0.1 --learning-rate 0.002
	@python stages/validate.py $(QUICK)

example: setup ## Run a recipe of examples/: make example NAME=low-memory. Without NAME: list them
	@minimal-llm example $(call option,JOBS,jobs) $(UNFINISHED) $(PARAMETERS) $(if $(value NAME),-- "$$NAME")

sweep: setup ## Run every combination of a grid: make sweep GRID=examples/sweep.yaml JOBS=2 SEEDS=3
	@minimal-llm sweep $(call option,GRID,grid) $(call option,JOBS,jobs) $(call option,SEEDS,seeds) $(PARAMETERS)

compare: setup ## Compare the workspace, the last commit and all experiments, as a table and runs/compare.png
	@minimal-llm compare

watch: setup ## Show training live, from another terminal
	@minimal-llm watch

share: setup ## Push the results for others to pull: make share REMOTE=/path/to/a/folder (or ssh://, s3://)
	@minimal-llm share $(if $(value REMOTE),-- "$$REMOTE")

page: setup ## Put the trained model into one HTML page, named after its run, to open or send
	@minimal-llm export --format html

bench: setup ## Time a training step against the obvious program and the limit of the machine
	@python benchmarks/train_step.py

verify: setup ## Train again, into runs/verify, and compare with what dvc.lock records
	@minimal-llm verify

test: setup-dev ## Run the test suite
	@python -m pytest $(WORKERS) $(PYTEST)

test-full: setup-dev ## Run the test suite, including the tests that take minutes
	@python -m pytest $(WORKERS) -m "" $(PYTEST)

test-export: ## Load every export in the program that it is for, in an environment of its own
	@$(PYTHON) $(SETUP) --export
	@.venv-export/bin/python -m pytest tests/interop $(PYTEST)

docs: ## Build the site, with search and without a request to another host, into runs/site/html
	@$(PYTHON) $(SETUP) --docs
	@python scripts/website.py

docs-serve: docs ## Build the site and show it at http://127.0.0.1:8000
	@python -m http.server --bind 127.0.0.1 --directory runs/site/html 8000

notebooks: setup ## Write the sections of the guide as notebooks into runs/notebooks
	@python scripts/notebooks.py

lint: setup-dev ## Check style, imports and types
	@ruff check .
	@ruff format --check .
	@lint-imports --no-cache > /dev/null || lint-imports --no-cache
	@mypy
	@MYPYPATH=src:stages mypy stages/*.py scripts/*.py scripts/agreement/*.py scripts/drawings/*.py --scripts-are-modules --explicit-package-bases
	@MYPYPATH=src:benchmarks mypy benchmarks/*.py --scripts-are-modules --explicit-package-bases

status: setup ## Show what the last run did and what DVC would run now
	@minimal-llm status

metrics: setup ## Show the metrics, and how they differ from the last commit
	@dvc metrics show && dvc metrics diff

plots: setup ## Draw DVC's plots into dvc_plots/index.html
	@dvc plots show

clean: setup ## Delete what the pipeline made, after asking
	@minimal-llm clean
