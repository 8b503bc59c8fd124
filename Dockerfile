# syntax=docker/dockerfile:1
# docker build -t leo-service .
# docker run --rm -p 127.0.0.1:8000:8000 -v leo:/data leo-service
FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/opt/venv/bin:$PATH

# torch and the other dependencies, by far the heaviest layer: it is built again only when they change.
FROM base AS dependencies
RUN python3 -m venv /opt/venv
# PyTorch's build for CPUs is a quarter of the size of its build for GPUs, and pip prefers it where it finds both. It is
# in an index of PyTorch's own, which this argument names; or as a wheel in the folder .torch. See docs/deployment.md.
ARG PIP_EXTRA_INDEX_URL
COPY pyproject.toml requirements.txt .torc[h] /build/
# Photos and traces are in the image; traces are off until OpenTelemetry's variables ask for them.
RUN cd /build \
    && python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; extra = project['optional-dependencies']; print(*project['dependencies'], *extra['photos'], *extra['traces'], sep='\n')" > dependencies.txt \
    && for wheel in torch-*.whl; do [ ! -e "$wheel" ] || sed -i "s/^torch==.*//" requirements.txt; done \
    && pip install --constraint requirements.txt -r dependencies.txt $(find . -name "torch-*.whl") \
    # Their own tests, and headers for C++: a quarter of a gigabyte.
    && cd /opt/venv/lib/python3.11/site-packages \
    && rm -rf torch/test torch/include \
    && find torch/bin -type f ! -name torch_shm_manager -delete \
    && find scipy sympy networkx -type d -name tests -prune -exec rm -rf {} +

FROM base
COPY --from=dependencies /opt/venv /opt/venv
WORKDIR /srv/leo
COPY pyproject.toml README.md ./
COPY deploy/wheel deploy/wheel
COPY model model
COPY app app
COPY client client
COPY weights weights
RUN pip install --no-deps --editable .

RUN useradd --system --uid 10001 --home-dir /srv/leo leo \
    && install -d -o leo -g leo /data
USER leo
VOLUME /data

ENV LEO_HOST=0.0.0.0 \
    LEO_PORT=8000 \
    LEO_DATA_DIR=/data \
    LEO_MODELS=photos-lite0 \
    LEO_LOG_FORMAT=json
EXPOSE 8000

HEALTHCHECK --interval=5s --timeout=4s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=3)"]

CMD ["leo", "serve"]
