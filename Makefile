# `make run` makes a result and `make test` runs the tests, both from a bare checkout.
#   make run TARGET=results/modelnet10_small.json    any result
#   make queue                                       long trainings in turn on one core, beside other work: stop and start it
#   make paper-small                                 every table and figure of the paper, in small
#   make gm-layers                                   tables and figures of Gaussian mixture layers: an hour
#   make dcgmm                                       tables and figures of deep convolutional mixtures, in small
#   make pointgmm                                    tables and figures of trees of mixtures of clouds, in small
#   make registration                                tables of poses of clouds, in small
#   (queue, paper-small, pointgmm and registration need GMCN_MIRROR=<folder with ModelNet>: docs/data.md)
#   make ui                                          look at the runs in MLflow (docs/tracking.md)
#   make test-slow, make test-faults                 long trainings; kills, full disks and damaged files
#   make test-browser, make test-slurm               MLflow's pages; a cluster
#   make bench, make gpu-check, make sanitize        how fast, on a GPU, without races and overruns
#   make fuzz, make audit                            files of strangers, vulnerable dependencies (docs/security.md)
#   make docs                                        the documentation as a site
PYTHON ?= python3
TARGET ?= results/digits_treehem2.json
RESULTS ?= results
PORT ?= 5000
BENCH ?= benchmarks/results
OUTPUT ?= $(RESULTS)/gpu-check
ARGS ?=
FUZZ ?= 100
LIMIT ?= 600
SECONDS_AT_MOST ?= 570

BIN := .venv/bin
INSTALLED := .venv/.installed
PIP := --quiet --disable-pip-version-check -c constraints.txt
export PATH := $(CURDIR)/$(BIN):$(PATH)
# The kernels are compiled, so an edit of them has to be built; Python files are used where they are.
BUILD_INPUTS := pyproject.toml setup.py constraints.txt $(shell find csrc -type f 2>/dev/null)

.PHONY: run queue paper-small gm-layers dcgmm pointgmm registration setup install-kernels install-packages test test-slow test-faults test-browser test-slurm fuzz sanitize audit lint lint-ruff lint-mypy lint-clang-format lint-snakemake \
    lint-codespell ui bench gpu-check docs rulegraph clean
.DEFAULT_GOAL := run

# What Snakemake is told where results lie elsewhere than the configuration says.
elsewhere = $(if $(filter-out results results/small,$(1)),--config results=$(1))

run: $(INSTALLED)
	@snakemake --cores all $(ARGS) -- $(TARGET)
	@echo
	@echo "The result is $(TARGET); 'make ui' shows how it was made."

# The results of the configuration's `queue`, one after the other. Each training goes on at its last checkpoint.
CORES ?= 1
define LISTED
from argparse import ArgumentParser
from gmcn.config import load
from gmcn.errors import InputError
given = ArgumentParser(allow_abbrev=False)
given.add_argument("--configfile", "--configfiles", nargs="+", default=[])
try:
    print(*load("config.yaml", *given.parse_known_args()[0].configfile).get("queue", []))
except InputError as error:
    raise SystemExit(error)
endef
export LISTED
queue: $(INSTALLED)
	@trap 'exit 130' INT TERM; \
	queue="$(QUEUE)"; \
	test -n "$$queue" || queue=$$(python -c "$$LISTED" $(ARGS)) || exit 1; \
	targets=; failed=; \
	for result in $$queue; do targets="$$targets $(RESULTS)/$$result.json"; done; \
	snakemake -n --quiet all $(call elsewhere,$(RESULTS)) $(ARGS) -- $$targets || exit 1; \
	for target in $$targets; do \
	    echo "== $$target"; \
	    OMP_WAIT_POLICY=PASSIVE nice snakemake --cores $(CORES) $(SINGLE) $(call elsewhere,$(RESULTS)) $(ARGS) -- $$target \
	        || failed="$$failed $$target"; \
	done; \
	test -z "$$failed" || { echo "failed:$$failed" >&2; exit 1; }

# ModelNet comes from GMCN_MIRROR alone, MNIST also from the internet: docs/reproduction.md.
paper-small: $(INSTALLED)
	@snakemake --cores all $(ARGS) --configfile workflow/small.yaml -- results/small/tables/all results/small/figures/all

# All tables and figures of docs/gm_layers.md but that of the heads, which is `make gm-layers GM_TABLES=heads`.
GM_TABLES ?= mnist fashion digits
GM_FIGURES ?= cost dynamics sampling
# Networks this small train best on one core each, many at a time. After each job, Snakemake 9 looks once more per timespan
# at all that are ready, for ever: at its default of a second, hundreds of short jobs keep half a core busy with that.
GM_OPTIONS ?= --set-threads train=1 evaluate=1 dynamics=1 footprint=1 --max-jobs-per-timespan 100/10s
gm-layers: $(INSTALLED)
	@snakemake --cores all $(GM_OPTIONS) $(call elsewhere,$(RESULTS)) $(ARGS) -- $(GM_TABLES:%=$(RESULTS)/tables/gmlayer-%.results)
	@snakemake --cores all $(GM_OPTIONS) $(call elsewhere,$(RESULTS)) $(ARGS) -- $(GM_TABLES:%=$(RESULTS)/tables/gmlayer-%.md) $(GM_FIGURES:%=$(RESULTS)/figures/gmlayer-%.png)

# All tables and figures of docs/dcgmm.md, in small: their numbers mean nothing. DCGMM_SMALL= makes them in full, in some hours.
DCGMM_SMALL ?= --configfile workflow/small.yaml
DCGMM_FOLDER ?= $(RESULTS)$(if $(DCGMM_SMALL),/small)
DCGMM_TABLES ?= table1 table1-fashion table2 outliers flat samples ablations
DCGMM_FIGURES ?= figure2 figure3 figure4 figure5 figure6 figure7 figure8 flat
# Many short jobs, of a thread each.
SINGLE ?= --set-threads train=1 evaluate_task=1 footprint=1 samples=1 rival=1 --max-jobs-per-timespan 100/10s
dcgmm: $(INSTALLED)
	@snakemake --cores all $(SINGLE) $(call elsewhere,$(DCGMM_FOLDER)) $(ARGS) $(DCGMM_SMALL) -- $(DCGMM_TABLES:%=$(DCGMM_FOLDER)/tables/dcgmm-%.results)
	@snakemake --cores all $(SINGLE) $(call elsewhere,$(DCGMM_FOLDER)) $(ARGS) $(DCGMM_SMALL) -- $(DCGMM_TABLES:%=$(DCGMM_FOLDER)/tables/dcgmm-%.md) \
	    $(DCGMM_FIGURES:%=$(DCGMM_FOLDER)/figures/dcgmm-%.png)

# All tables and figures of docs/pointgmm.md, in small: their numbers mean nothing. POINTGMM_SMALL= makes them in full, in some hours.
POINTGMM_SMALL ?= --configfile workflow/small.yaml
POINTGMM_FOLDER ?= $(RESULTS)$(if $(POINTGMM_SMALL),/small)
POINTGMM_TABLES ?= generation completion ablations fits
POINTGMM_FIGURES ?= levels leaves interpolations samples parts
pointgmm: $(INSTALLED)
	@snakemake --cores all $(SINGLE) $(call elsewhere,$(POINTGMM_FOLDER)) $(ARGS) $(POINTGMM_SMALL) -- $(POINTGMM_TABLES:%=$(POINTGMM_FOLDER)/tables/pointgmm-%.results)
	@snakemake --cores all $(SINGLE) $(call elsewhere,$(POINTGMM_FOLDER)) $(ARGS) $(POINTGMM_SMALL) -- $(POINTGMM_TABLES:%=$(POINTGMM_FOLDER)/tables/pointgmm-%.md) \
	    $(POINTGMM_FIGURES:%=$(POINTGMM_FOLDER)/figures/pointgmm-%.html)

# The tables of docs/registration.md, in small: their numbers mean nothing. REGISTRATION_SMALL= makes them in full, in some hours.
# Of rivals those whose packages are installed; a row that is missing says how it is made.
REGISTRATION_SMALL ?= --configfile workflow/small.yaml
REGISTRATION_FOLDER ?= $(RESULTS)$(if $(REGISTRATION_SMALL),/small)
REGISTRATION_NETWORKS ?= registration registration-baseline registration-direction
REGISTRATION_RIVALS ?= search $(shell $(BIN)/python -c 'from importlib.util import find_spec as there; \
    print("gicp" if there("small_gicp") else "", "icp-turns ransac icp fgr" if there("open3d") else "")' 2>/dev/null)
registration: $(INSTALLED)
	@snakemake --cores all $(SINGLE) $(call elsewhere,$(REGISTRATION_FOLDER)) $(ARGS) $(REGISTRATION_SMALL) -- \
	    $(REGISTRATION_NETWORKS:%=$(REGISTRATION_FOLDER)/modelnet40-chair_%.json) \
	    $(REGISTRATION_RIVALS:%=$(REGISTRATION_FOLDER)/rivals/modelnet40-chair_registration-%.json)
	@snakemake --cores all $(SINGLE) $(call elsewhere,$(REGISTRATION_FOLDER)) $(ARGS) $(REGISTRATION_SMALL) -- \
	    $(REGISTRATION_FOLDER)/tables/pointgmm-registration.md $(REGISTRATION_FOLDER)/tables/registration-settings.md

setup: $(INSTALLED)

$(INSTALLED): $(BUILD_INPUTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "gmcn needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv (a few minutes the first time) ..."
	@python -m pip install $(PIP) setuptools wheel numpy torch pybind11 ninja
	@$(MAKE) --no-print-directory --jobs 2 install-kernels install-packages
	@touch $@

# What gmcn needs is installed while its kernels compile.
install-kernels:
	@python -m pip install $(PIP) --no-build-isolation --no-deps -e .

define REQUIREMENTS
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = [project["optional-dependencies"][extra] for extra in ("workflow", "slurm", "dev", "docs")]
print(*project["dependencies"], *sum(extras, []), sep="\n")
endef
export REQUIREMENTS
install-packages:
	@python -c "$$REQUIREMENTS" > .venv/requirements.txt
	@python -m pip install $(PIP) -r .venv/requirements.txt

# On all cores, eight at most; ARGS='-n 0' takes one process.
test: $(INSTALLED)
	pytest -n auto --maxprocesses 8 --dist worksteal -m "not slow and not browser and not slurm" $(ARGS)

test-slow: $(INSTALLED)
	pytest -m "slow and not slurm and not browser" $(ARGS)

# On a cluster of its own, made of Debian's SLURM on this machine and ended again; needs root, at most 10 minutes;
# LIMIT=<seconds> gives it more on a busy machine.
test-slurm: $(INSTALLED)
	@which slurmctld slurmd sbatch >/dev/null || { apt-get update -qq && \
	    apt-get install -qq -y --no-install-recommends slurmctld slurmd slurm-client; }
	timeout --signal=INT $(LIMIT) pytest -m slurm $(ARGS)

# What is killed, full, damaged or locked: nothing is lost, and the next start goes on.
test-faults: $(INSTALLED)
	pytest -m faults $(ARGS)

# MLflow's pages in a real browser: needs chromium (apt-get install chromium).
test-browser: $(INSTALLED)
	pytest -m browser $(ARGS)

# The tests of damaged and hostile files, with a hundred times as many of them, for half an hour and more.
# ARGS='-k images' takes some.
fuzz: $(INSTALLED)
	GMCN_FUZZ=$(FUZZ) pytest -k test_damaged --timeout 0 $(ARGS)

# Whether a vulnerability is known in what constraints.txt names; asks PyPI, once per package. What PyPI does not answer
# for is a failure too: it is no sign of health.
audit: $(INSTALLED)
	@rm -f build/audit.txt; mkdir -p build
	@pip-audit --requirement constraints.txt --no-deps --disable-pip --strict --progress-spinner off \
	    --output build/audit.txt $(ARGS) || { test -s build/audit.txt && cat build/audit.txt || \
	    echo "Nothing is known of the dependencies: PyPI did not answer for all of them (above); run this where it does." >&2; exit 1; }

# The tests of the operations under AddressSanitizer and ThreadSanitizer, each a build of its own below build/.
sanitize: $(INSTALLED)
	tests/sanitizers/run.sh address $(ARGS)
	tests/sanitizers/run.sh thread $(ARGS)

# Each is a hook of .pre-commit-config.yaml too, which `pip install pre-commit && pre-commit install` runs at each commit.
lint: lint-ruff lint-mypy lint-clang-format lint-snakemake lint-codespell

lint-ruff: $(INSTALLED)
	ruff check .
	ruff format --check .

lint-mypy: $(INSTALLED)
	mypy

lint-clang-format: $(INSTALLED)
	find csrc tests -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' | xargs -r clang-format --dry-run --Werror

lint-snakemake: $(INSTALLED)
	snakefmt --check Snakefile workflow
	snakemake --lint

lint-codespell: $(INSTALLED)
	codespell

# The job runner that MLflow starts by default takes 2 GB and is of no use here. Results may have been moved.
ui: $(INSTALLED)
	@test -n "$$MLFLOW_TRACKING_URI" -o -f $(RESULTS)/mlflow.db \
	    || { echo "Nothing is logged yet: 'make run' first." >&2; exit 1; }
	@test -n "$$MLFLOW_TRACKING_URI" || python -m gmcn store --results $(RESULTS) --tracking on
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true mlflow ui --port $(PORT) \
	    --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///$(abspath $(RESULTS))/mlflow.db}"

# KeOps and scikit-learn are among the rivals where they are installed: docs/measuring.md.
bench: $(INSTALLED)
	@for file in benchmarks/bm_*.py benchmarks/train_step.py; do python "$$file" --output $(BENCH) $(ARGS) || exit 1; done
	@python benchmarks/summary.py --output $(BENCH)

# For a machine with a GPU; takes $(PYTHON) as it is, without an environment of ours and without the internet.
# SECONDS_AT_MOST=200 and LIBRARY=<folder of libraries that were built elsewhere>: docs/measuring.md.
gpu-check:
	$(PYTHON) benchmarks/gpu_check.py --output $(OUTPUT) --seconds-at-most $(SECONDS_AT_MOST) \
	    $(if $(LIBRARY),--library $(LIBRARY)) $(ARGS)

# A warning is an error. The site is build/site/index.html.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 mkdocs build $(ARGS)

# The picture in docs/concepts.md.
rulegraph: $(INSTALLED)
	python docs/draw_rulegraph.py

# What was built, never what was computed.
clean:
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .mypy_cache .coverage
	find gmcn tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
	find gmcn -name '*.so' -delete
