# `make serve` and `make test` are all that a fresh clone needs.

PYTHON ?= python3
VENV := .venv
DATA ?= images_background.zip
COVERAGE_FLOOR := 96
TESTS_AT_ONCE ?= 2
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: serve test coverage check gpu gpu-wheels bench bench-device bench-engine bench-store bench-labels bench-page \
	bench-quantised \
	bench-training ablation phi-search weights-omniglot weights-omniglot-100x weights-omniglot-105 compare chaos hostile \
	strangers fuzz soak audit bench-ray capacity serve-ray test-ray test-containers generator sbom bench-image dist clean

serve: $(INSTALLED)
	LEO_MODELS=$${LEO_MODELS-photos-lite0} $(BIN)/leo serve

# Processes with two threads each may share two cores: a thread that waits for another must leave its core to others.
test: check
	OMP_WAIT_POLICY=passive $(BIN)/python $(MEASURED) -m pytest --numprocesses $(TESTS_AT_ONCE) --dist loadfile $(PYTEST_ARGS)

# The tests again, with the line coverage of app and model, worker processes and servers included. The floor is the
# figure at which it was set.
coverage: $(INSTALLED)
	$(BIN)/coverage erase
	$(MAKE) test MEASURED="-m coverage run"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=$(COVERAGE_FLOOR)

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Latency for one client; writes bench/results/ and the README's figures. About a minute.
bench: $(INSTALLED)
	$(BIN)/python -m bench.latency
	$(BIN)/python -m bench.readme
	$(BIN)/python -m bench.performance

# How many tasks a second the embedded store takes; writes bench/results/store.json. A minute.
bench-store: $(INSTALLED)
	$(BIN)/python -m bench.store

# Compares the service with LitServe, a plain FastAPI handler and the machine's limit, and engines for phi with each other;
# writes bench/results/ and the README's figures. Twenty minutes on an idle machine. ENGINE="--only compare,limits" runs less.
bench-engine: $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --constraint requirements.txt --editable '.[dev,bench]'
	$(BIN)/python -m bench.engine $(ENGINE)
	$(BIN)/python -m bench.phi_engines
	$(BIN)/python -m bench.readme
	$(BIN)/python -m bench.performance

# Makes weights from the drawings alone, card included, in runs/weights-*/model: an hour and a half on two cores. -100x learns
# from a hundred times the drawings, on a GPU; -105 has weights/omniglot as its teacher. Killed at any moment, each
# continues with the same command.
weights-omniglot weights-omniglot-100x: $(INSTALLED)
	$(BIN)/leo train --data $(DATA) --out runs/$@ --preset $(@:weights-%=%)

weights-omniglot-105: $(INSTALLED)
	$(BIN)/leo train --data $(DATA) --out runs/$@ --preset omniglot-105 --teacher weights/omniglot

# Compares LEO with other methods on validation alphabets; needs DATA=.../images_background.zip. Half an hour on one core,
# with 100 training steps for MAML, Meta-SGD and ANIL. STEPS=1500 is LEO's own budget, and takes hours on a CPU; killed,
# it continues with the same command.
COMPARE = $(BIN)/leo compare --data $(DATA) --baselines runs/baselines
STEPS ?= 100
compare: $(INSTALLED)
	$(COMPARE) --train-baselines --baseline-steps $(STEPS) --shot 1,5 --episodes 100 --repeats 3 \
		--out bench/results/compare-gradient.json
	$(COMPARE) --skip MAML,Meta-SGD --episodes 500 --repeats 0 --way 20 --within alphabet \
		--out bench/results/compare-alphabet.json
	$(COMPARE) --skip MAML,Meta-SGD --episodes 500 --repeats 0 --out bench/results/compare.json
	$(BIN)/python -m bench.accuracy

# What each setting of a LEO contributes, and several views of the support and of a query. Half an hour.
ablation: $(INSTALLED)
	$(BIN)/python -m bench.ablation --data $(DATA)
	$(BIN)/python -m bench.support_views --data $(DATA)
	$(BIN)/python -m bench.query_views --data $(DATA)

# Speed of meta-training on this machine. A quarter of an hour.
bench-training: $(INSTALLED)
	$(BIN)/python -m bench.training --data $(DATA)

# Feature extractors by accuracy and milliseconds. Half an hour.
phi-search: $(INSTALLED)
	$(BIN)/python -m bench.phi_search --data $(DATA)

# How often a wrong label is found in 200 tasks: make bench-labels DATA=.../images_background.zip
bench-labels: $(INSTALLED)
	$(BIN)/python -m bench.labels $(DATA)

# Accuracy and time of phi quantised to 8 bits and in float32:
# make bench-quantised DATA=.../images_background.zip PHOTOS="--photos a.zip --photos b.zip"
bench-quantised: $(INSTALLED)
	$(BIN)/python -m bench.quantised --drawings $(DATA) $(PHOTOS)

# How many pictures of other classes pass, by `known` and by other scores:
# make bench-known DATA=.../images_background.zip PHOTOS="--photos a.zip --photos b.zip"
bench-known: $(INSTALLED)
	$(BIN)/python -m bench.known --drawings $(DATA) $(PHOTOS)
	$(BIN)/python -m bench.negatives --drawings $(DATA) $(PHOTOS)
	$(BIN)/python -m bench.accuracy

# How fast the page's probabilities follow the drawing, and how long a newcomer takes to a right answer about photos, in
# Debian's chromium; writes bench/results/page.json and newcomer.json. PHOTOS="--photos a.zip" takes photos of your own.
bench-page: $(INSTALLED)
	$(BIN)/python -m bench.page
	$(BIN)/python -m bench.newcomer $(PHOTOS)

# Kills replicas and Redis under load, pauses Redis and fails over; writes bench/results/chaos.json. About ten minutes.
chaos: $(INSTALLED)
	$(BIN)/python -m bench.chaos

# How much hostile callers slow down others; writes bench/results/hostile.json. Two minutes.
hostile: $(INSTALLED)
	$(BIN)/python -m bench.hostile

# Every kind of hostile caller, one after the other, beside eight polite clients; writes bench/results/strangers.json.
# Four minutes on an idle machine.
strangers: $(INSTALLED)
	$(BIN)/python -m bench.strangers

# 10,000 calls by schemathesis, made from the OpenAPI document; writes bench/results/fuzz.json. About half an hour.
fuzz: $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --constraint requirements.txt --editable '.[dev,fuzz]'
	$(BIN)/python -m bench.fuzz

# An hour at 70 % load; writes bench/results/soak.json. SOAK="--minutes 5" runs less.
soak: $(INSTALLED)
	$(BIN)/python -m bench.soak $(SOAK)

# bandit checks the code; pip-audit asks a service on the network for known vulnerabilities of the pinned versions.
audit: $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --constraint requirements.txt --editable '.[dev,audit]'
	$(BIN)/bandit --quiet --recursive app model --configfile pyproject.toml
	$(BIN)/pip-audit --requirement requirements.txt --no-deps --disable-pip

# What a prediction and a task cost, stage by stage, and how well the simulation predicts a load; writes
# bench/results/capacity.json and the figures of docs/scaling.md. Five minutes on an idle machine.
capacity: $(INSTALLED)
	$(BIN)/python -m bench.capacity
	$(BIN)/python -m bench.scaling

# Tests and measures a GPU in at most five minutes; writes bench/results/gpu.json. Needs PyTorch and no network, and takes
# the packages that are missing from .wheels: see docs/gpu.md. GPU="--device cpu" tries the script itself.
gpu:
	$(PYTHON) -m bench.gpu $(GPU)

# Fills .wheels, for Python 3.12 on 64-bit Linux, to be carried to a machine without a network.
gpu-wheels: $(INSTALLED)
	$(BIN)/python -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
		--platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
		--platform manylinux1_x86_64 --constraint requirements.txt --requirement bench/gpu/wheels.txt --dest .wheels

# What a device process costs and survives; writes bench/results/device_process.json. Two minutes.
bench-device: $(INSTALLED)
	$(BIN)/python -m bench.device_process

# Runs the service on a Ray cluster on this machine; needs a Redis: make serve-ray LEO_STORE_URL=redis://127.0.0.1:6379/0
serve-ray: $(VENV)/.ray
	. deploy/ray/environment && LEO_STORE_URL=$(LEO_STORE_URL) $(BIN)/serve run deploy/ray/serve.yaml

# ONNX Runtime for browsers, from npm, for the tests of exported folders.
BROWSER_RUNTIME := .cache/onnxruntime-web
ONNXRUNTIME_WEB := 1.30.0
ONNXRUNTIME_WEB_SHA256 := d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71

.PHONY: browser-runtime
browser-runtime: $(BROWSER_RUNTIME)/$(ONNXRUNTIME_WEB)

$(BROWSER_RUNTIME)/$(ONNXRUNTIME_WEB):
	@mkdir -p .cache
	cd .cache && npm pack --silent onnxruntime-web@$(ONNXRUNTIME_WEB)
	cd .cache && echo "$(ONNXRUNTIME_WEB_SHA256)  onnxruntime-web-$(ONNXRUNTIME_WEB).tgz" | sha256sum --check --quiet
	rm -rf $(BROWSER_RUNTIME) && mkdir $(BROWSER_RUNTIME)
	tar -xzf .cache/onnxruntime-web-$(ONNXRUNTIME_WEB).tgz -C $(BROWSER_RUNTIME) --strip-components=1
	rm .cache/onnxruntime-web-$(ONNXRUNTIME_WEB).tgz
	@touch $@

# Has MLflow load an exported folder. It has an environment of its own, as its requirements differ from the service's.
.PHONY: test-mlflow
test-mlflow: $(INSTALLED) .cache/mlflow/.installed
	$(BIN)/python -m pytest tests/mlflow -o addopts="-ra --strict-markers --strict-config"

.cache/mlflow/.installed:
	@$(BIN)/python -m venv .cache/mlflow
	@.cache/mlflow/bin/python -m pip install --quiet --requirement app/standalone/requirements.txt
	@touch $@

# How near exported classifiers come to the service, in Python and in a browser; writes bench/results/export.json. Five
# minutes: make bench-export DATA=.../images_background.zip PHOTOS="--photos a.zip --photos b.zip"
.PHONY: bench-export
bench-export: $(INSTALLED) browser-runtime
	$(BIN)/python -m bench.export --drawings $(DATA) $(PHOTOS)

# Starts two raylets and kills a node under load. Some minutes; Ray's own warnings are not errors here.
test-ray: $(VENV)/.ray
	$(BIN)/python -m pytest tests/ray -o addopts="-ra --strict-markers --strict-config" -W ignore

# The long version of test-ray; writes bench/results/ray.json.
bench-ray: $(VENV)/.ray
	$(BIN)/python -m bench.ray_serve

$(VENV)/.ray: $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --constraint requirements.txt --editable '.[dev,ray]'
	@touch $@

# Builds the image and runs docker-compose.yml. DOCKER may name another program with the same commands.
test-containers: $(INSTALLED)
	$(BIN)/python -m pytest tests/containers -m containers -s

$(INSTALLED): pyproject.toml requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	@echo "installing into $(VENV): some minutes, PyTorch is large"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.txt --editable '.[dev]'
	@touch $@

# A generator of clients, which the tests use. In an environment of its own, as it needs other versions than the service.
generator: $(VENV)/generator/bin/openapi-python-client

$(VENV)/generator/bin/openapi-python-client: $(INSTALLED)
	@$(PYTHON) -m venv $(VENV)/generator
	@$(VENV)/generator/bin/python -m pip install --quiet openapi-python-client==0.29.1

# What is installed, with versions and licences, for whoever must know: dist/sbom.json, in CycloneDX's format. It is not
# committed, as it describes an environment and not the source.
sbom: $(VENV)/sbom/bin/cyclonedx-py
	@mkdir -p build dist
	@# The version is in app/__init__.py, where cyclonedx-py does not look.
	@sed "s/^dynamic = .*/version = $$(sed -n 's/^__version__ = //p' app/__init__.py)/" pyproject.toml > build/pyproject.toml
	$(VENV)/sbom/bin/cyclonedx-py environment --pyproject build/pyproject.toml --output-reproducible --of JSON \
		--output-file dist/sbom.json $(BIN)/python

$(VENV)/sbom/bin/cyclonedx-py: $(INSTALLED)
	@$(PYTHON) -m venv $(VENV)/sbom
	@$(VENV)/sbom/bin/python -m pip install --quiet cyclonedx-bom==7.5.0

# docs/ as a site, in build/site: open build/site/index.html. Every link of it is checked.
.PHONY: docs docs-tools
docs: docs-tools
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

# What the site is built with; tests/test_docs_site.py builds it where this was run.
MERMAID_VERSION := 12.3.0
MERMAID_SHA256 := be0684e8d20bfc874df12c0f04927a5c482f57f2200eec54cca52a4583fd4040
MERMAID := .cache/mermaid/$(MERMAID_VERSION)
docs-tools: $(VENV)/.docs $(MERMAID)

$(VENV)/.docs: $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --constraint requirements.txt --editable '.[dev,docs]'
	@touch $@

# Draws the diagrams, from npm; the theme would load it from elsewhere.
$(MERMAID):
	@mkdir -p .cache
	cd .cache && npm pack --silent mermaid@$(MERMAID_VERSION)
	cd .cache && echo "$(MERMAID_SHA256)  mermaid-$(MERMAID_VERSION).tgz" | sha256sum --check --quiet
	rm -rf .cache/mermaid && mkdir .cache/mermaid
	tar -xzf .cache/mermaid-$(MERMAID_VERSION).tgz -C .cache/mermaid --strip-components=1 package/dist/mermaid.min.js
	rm .cache/mermaid-$(MERMAID_VERSION).tgz
	@touch $@

# The size of the container image, and its time to build and to start; writes bench/results/image.json and the figures of
# docs/deployment.md. DOCKER may name another program with the same commands.
bench-image: $(INSTALLED)
	$(BIN)/python -m bench.image

# The wheels of the service and of its client, and nothing else, in dist/.
dist: $(INSTALLED)
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . ./client

clean:
	rm -rf $(VENV) build dist client/build *.egg-info client/*.egg-info .pytest_cache .mypy_cache .ruff_cache
