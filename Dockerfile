# syntax=docker/dockerfile:1
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/opt/venv/bin:$PATH

RUN python3 -m venv /opt/venv
WORKDIR /srv/leo

# torch and the other dependencies, by far the heaviest layer: it is built again only when they change.
COPY pyproject.toml requirements.txt ./
# Photos and traces are in the image, and off until LEO_MODELS and OpenTelemetry's variables ask for them.
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; extra = project['optional-dependencies']; print(*project['dependencies'], *extra['photos'], *extra['traces'], sep='\n')" > /tmp/dependencies.txt \
    && pip install --constraint requirements.txt -r /tmp/dependencies.txt

COPY README.md ./
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
    LEO_LOG_FORMAT=json
EXPOSE 8000

HEALTHCHECK --interval=5s --timeout=4s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=3)"]

CMD ["leo", "serve"]
