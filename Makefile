# `make serve` and `make test` do everything on a fresh clone.

PYTHON ?= python3
VENV := .venv
DATA ?= images_background.zip
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: serve test check bench bench-engine bench-labels bench-page bench-quantised \
	bench-training ablation phi-search compare chaos hostile fuzz soak audit bench-ray capacity serve-ray test-ray test-containers clean

serve: $(INSTALLED)
	LEO_MODELS=$${LEO_MODELS-photos-lite0} $(BIN)/leo serve

test: check
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# How long one client waits; writes bench/results/ and the README's figures. Takes about a minute.
bench: $(INSTALLED)
	$(BIN)/python -m bench.latency
	$(BIN)/python -m bench.readme

# The service beside LitServe, a plain FastAPI handler and the machine's limit, and ways to run phi; twenty minutes on a
# quiet machine. Writes bench/results/. ENGINE="--only compare,limits" for less.
bench-engine: $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --constraint requirements.txt --editable '.[dev,bench]'
	$(BIN)/python -m bench.engine $(ENGINE)
	$(BIN)/python -m bench.phi_engines
	$(BIN)/python -m bench.readme

# LEO beside what people use instead, on validation alphabets; needs DATA=.../images_background.zip. Half an hour on a
# core, for which MAML, Meta-SGD and ANIL get 40 steps; STEPS=1500 is LEO's own budget, and takes hours on a CPU.
COMPARE = $(BIN)/leo compare --data $(DATA) --baselines runs/baselines
STEPS ?= 40
compare: $(INSTALLED)
	$(COMPARE) --train-baselines --baseline-steps $(STEPS) --shot 1,5 --episodes 100 --repeats 3 \
		--out bench/results/compare-gradient.json
	$(COMPARE) --skip MAML,Meta-SGD --episodes 500 --repeats 0 --way 20 --within alphabet \
		--out bench/results/compare-alphabet.json
	$(COMPARE) --skip MAML,Meta-SGD --episodes 500 --repeats 0 --out bench/results/compare.json
	$(BIN)/python -m bench.accuracy

# What each of a LEO's settings is worth, and feature extractors by accuracy and milliseconds; half an hour each.
ablation: $(INSTALLED)
	$(BIN)/python -m bench.ablation --data $(DATA)

# How fast meta-training is on this machine; a quarter of an hour.
bench-training: $(INSTALLED)
	$(BIN)/python -m bench.training --data $(DATA)

phi-search: $(INSTALLED)
	$(BIN)/python -m bench.phi_search --data $(DATA)

# How often a planted wrong label is found, in 200 tasks: make bench-labels DATA=.../images_background.zip
bench-labels: $(INSTALLED)
	$(BIN)/python -m bench.labels $(DATA)

# phi in bytes against float32, accuracy and time: make bench-quantised DATA=.../images_background.zip PHOTOS="--photos a.zip --photos b.zip"
bench-quantised: $(INSTALLED)
	$(BIN)/python -m bench.quantised --drawings $(DATA) $(PHOTOS)

# How soon the page's bars follow the hand, in Debian's chromium; writes bench/results/page.json.
bench-page: $(INSTALLED)
	$(BIN)/python -m bench.page

# Kills replicas and Redis under load, pauses Redis, fails over; writes bench/results/chaos.json. About ten minutes.
chaos: $(INSTALLED)
	$(BIN)/python -m bench.chaos

# What hostile callers can do to others; writes bench/results/hostile.json. Two minutes.
hostile: $(INSTALLED)
	$(BIN)/python -m bench.hostile

# 10,000 calls by schemathesis, made from the OpenAPI document; writes bench/results/fuzz.json. About half an hour.
fuzz: $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --constraint requirements.txt --editable '.[dev,fuzz]'
	$(BIN)/python -m bench.fuzz

# An hour at 70 % load; writes bench/results/soak.json. SOAK="--minutes 5" for less.
soak: $(INSTALLED)
	$(BIN)/python -m bench.soak $(SOAK)

# bandit reads the code; pip-audit asks a service on the network what is known of the pinned versions.
audit: $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --constraint requirements.txt --editable '.[dev,audit]'
	$(BIN)/bandit --quiet --recursive app model --configfile pyproject.toml
	$(BIN)/pip-audit --requirement requirements.txt --no-deps --disable-pip

# What a prediction and a task cost, stage by stage, and whether the simulation predicts a load; five quiet minutes.
# Writes bench/results/capacity.json and the figures of docs/scaling.md.
capacity: $(INSTALLED)
	$(BIN)/python -m bench.capacity
	$(BIN)/python -m bench.scaling

# The service on a Ray cluster of this machine; needs a Redis: make serve-ray LEO_STORE_URL=redis://127.0.0.1:6379/0
serve-ray: $(VENV)/.ray
	. deploy/ray/environment && LEO_STORE_URL=$(LEO_STORE_URL) $(BIN)/serve run deploy/ray/serve.yaml

# Two raylets, a node killed under load: some minutes; Ray warns of things of its own. And the long version, which writes bench/results/ray.json.
test-ray: $(VENV)/.ray
	$(BIN)/python -m pytest tests/ray -o addopts="-ra --strict-markers --strict-config" -W ignore

bench-ray: $(VENV)/.ray
	$(BIN)/python -m bench.ray_serve

$(VENV)/.ray: $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --constraint requirements.txt --editable '.[dev,ray]'
	@touch $@

# Builds and runs Dockerfile and docker-compose.yml. DOCKER may name another program that takes the same calls.
test-containers: $(INSTALLED)
	$(BIN)/python -m pytest tests/containers -m containers -s

$(INSTALLED): pyproject.toml requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	@echo "installing into $(VENV): some minutes, PyTorch is large"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
