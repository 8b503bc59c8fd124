"""The settings of the service: environment variables that begin with `LEO_`."""

import difflib
import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from model.shipped import WEIGHTS

LONGEST_TTL = 100 * 366 * 86400  # seconds; times of a far future cannot be written as dates
LARGEST = 2**53  # of a number of things; what stores and JSON can hold
LONGEST_WAIT = 86_400.0  # seconds; the system cannot wait for times that are far longer
PROJECT = Path(__file__).resolve().parent.parent
#: Files of the npm package onnxruntime-web that run a graph in a browser.
BROWSER_RUNTIME = ("dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm")


class Settings(BaseSettings):
    """All settings, read from the environment; each description is the setting's documentation.

    Raises `ValidationError` for a bad value.
    """

    model_config = SettingsConfigDict(env_prefix="LEO_", env_ignore_empty=True, frozen=True, allow_inf_nan=False)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 chooses a free one")
    root_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*/?$",
        description="path prefix under which a gateway serves the service, such as `/leo`; the gateway may strip it or "
        "pass it on",
    )
    data_dir: Path = Field(Path("data"), description="folder of the embedded task store, an SQLite database")
    store_url: str = Field(
        "",
        description="`redis://...` or `redis+cluster://...`: a task store that replicas share; empty: the embedded "
        "store in `LEO_DATA_DIR`",
    )
    weights: Path = Field(
        WEIGHTS / "omniglot",
        description="folder of the default model, with `model.safetensors` and `config.json`",
    )
    models: str = Field(
        "", description="further models to load, separated by commas: names of folders in `weights/`, or paths"
    )
    backbones_dir: Path | None = Field(
        None,
        description="folder of fetched weights of backbones, for models of photos that need them; without it "
        "`leo/backbones` in the user's cache folder",
    )
    keys_file: Path | None = Field(
        None, description="key file, made by `leo keys add`; without it everyone who can reach the service may use it"
    )
    allowed_hosts: str = Field(
        "",
        description="further host names under which a service without keys is reached, separated by commas, such as "
        "`leo.example.com` or `*.example.com`; `*` allows any name, and calls from web pages of any site",
    )
    trusted_proxies: str = Field(
        "127.0.0.1,::1",
        description="addresses and networks of gateways, separated by commas, such as `10.0.0.0/8`, whose "
        "`X-Forwarded-For` and `X-Forwarded-Proto` are believed; without keys each address that they name has a share "
        "of its own",
    )
    image_hosts: str = Field(
        "",
        description="hosts from which images are fetched that a request names by URL, separated by commas, such as "
        "`images.example.com`, `*.example.com` or `10.0.0.5:9000`; empty: nothing is fetched",
    )
    device: str = Field(
        "auto",
        description="`cpu`, `cuda`, `cuda:1`, several GPUs as `cuda:0,cuda:1`, or `auto`: a GPU if there is one. Each "
        "GPU has a process of its own, which batches the requests of all workers; `process:cpu` is such a process "
        "without a GPU, to try that out",
    )

    phi_precision: Literal["auto", "int8", "float32"] = Field(
        "auto",
        description="number format in which phi computes: `int8` is faster on CPUs with instructions for it, `float32` "
        "gives the same results on all machines, `auto` uses `int8` if the CPU supports it. Set the same for all "
        "replicas if their CPUs differ",
    )

    browser_runtime: Path | None = Field(
        None,
        description="folder of the npm package `onnxruntime-web`, such as `node_modules/onnxruntime-web`, of which "
        "`standalone.zip` then contains two files; without it the page in the zip says where to put them",
    )

    workers: int = Field(
        0,
        ge=0,
        le=512,
        description="worker processes, each with its own queues and cache; 0: one for each core that memory "
        "allows if tasks are kept in `LEO_DATA_DIR`, else one",
    )

    log_format: Literal["text", "json"] = Field(
        "text", description="format of log lines: `text` for people, or `json`; both carry the request id"
    )

    max_body_bytes: int = Field(
        32 * 2**20, ge=1024, le=LARGEST, description="largest request body in bytes, declared or chunked; above it 413"
    )
    max_image_pixels: int = Field(
        50_000_000,
        ge=1,
        le=LARGEST,
        description="most pixels of an image, checked in its header before decoding; above it 422",
    )
    decode_deadline: float = Field(
        10.0, ge=0.1, le=LONGEST_WAIT, description="seconds allowed for decoding a request's images; after that 503"
    )
    max_images: int = Field(1000, ge=1, le=LARGEST, description="most images in one request")
    max_ways: int = Field(100, ge=2, le=LARGEST, description="most classes in one task")
    max_label_length: int = Field(100, ge=1, le=LARGEST, description="most characters in a label or task name")
    max_ttl_seconds: int = Field(366 * 86400, ge=1, le=LONGEST_TTL, description="largest `ttl_seconds` of a task")

    kept_image_bytes: int = Field(
        24 * 2**10,
        ge=8192,
        le=LARGEST,
        description="most bytes of each picture that a task made with `keep_images` keeps, as a small copy",
    )
    kept_bytes: int = Field(
        2**30,
        ge=0,
        le=LARGEST,
        description="most bytes of pictures that are kept for one key's owner in all tasks; above it 507",
    )

    cache_bytes: int = Field(
        512 * 2**20,
        ge=0,
        le=LARGEST,
        description="size of each worker's cache of tasks and decoded heads in bytes; "
        "heads that are not cached are decoded again",
    )
    queue_images: int = Field(
        4096, ge=1, le=LARGEST, description="most images that wait for the device; above it 503 at once"
    )
    queue_requests: int = Field(
        300,
        ge=1,
        le=LARGEST,
        description="most requests of one key's owner (without keys: of one address) that wait or run; above it 503 "
        "at once",
    )
    queue_bytes: int = Field(
        256 * 2**20,
        ge=1,
        le=LARGEST,
        description="most bytes of bodies that a worker holds, and of images that wait to be decoded; above it 503",
    )
    request_timeout: float = Field(
        30.0,
        ge=0.1,
        le=LONGEST_WAIT,
        description="seconds that a request may wait for its turn, and for the device; after that 503. Images that it "
        "names by URL may take as long, too",
    )
    device_deadline: float = Field(
        20.0,
        ge=1,
        le=LONGEST_WAIT,
        description="seconds that one batch may take on the device, and that the event loop may be blocked; after that "
        "the service counts as hung and exits",
    )
    drain_seconds: float = Field(
        0.0,
        ge=0,
        le=LONGEST_WAIT,
        description="seconds to keep serving after SIGTERM while `/readyz` answers 503, so that load balancers notice",
    )
    stop_seconds: float = Field(
        30.0, gt=0, le=LONGEST_WAIT, description="seconds after that for admitted requests to finish"
    )

    @field_validator("host")
    @classmethod
    def _host_has_no_brackets(cls, host: str) -> str:
        if host.startswith("["):
            raise ValueError("write an address of IPv6 without brackets, as ::1")
        return host

    @field_validator("root_path")
    @classmethod
    def _root_path_stays_as_it_is(cls, path: str) -> str:
        if {".", ".."} & set(path.split("/")):
            raise ValueError("clients take . and .. out of a path before they send it; write the prefix without them")
        return path

    @field_validator("trusted_proxies")
    @classmethod
    def _trusted_proxies_are_networks(cls, text: str) -> str:
        for each in text.split(","):
            try:
                ipaddress.ip_network(each.strip())
            except ValueError as error:
                raise ValueError(f"{error}; write an address or a network, as 10.0.0.0/8") from None
        return text

    @field_validator("browser_runtime")
    @classmethod
    def _browser_runtime_is_complete(cls, folder: Path | None) -> Path | None:
        missing = [name for name in BROWSER_RUNTIME if folder and not (folder / name).is_file()]
        if missing:
            raise ValueError(f"{folder} has no {' and no '.join(missing)}: npm install onnxruntime-web")
        return folder

    @field_validator("device")
    @classmethod
    def _device_is_named_rightly(cls, value: str) -> str:
        names = [name.strip() for name in value.lower().split(",")]
        if len(names) == 1 and names[0] in ("auto", "cpu", "cuda"):
            return names[0]
        if set(names) == {"process:cpu"}:
            return ",".join(names)
        if not all(re.fullmatch(r"cuda:\d{1,3}", name) for name in names):
            raise ValueError("choose auto, cpu, cuda, cuda:1, or several GPUs as cuda:0,cuda:1")
        if len(set(names)) < len(names):
            raise ValueError("the same GPU is named twice; one process has all of it")
        return ",".join(names)


def misspelt(environment: Mapping[str, str]) -> dict[str, str]:
    """Find variables that are no settings, but are spelt nearly as one -> the name of that setting.

    Others that begin with LEO_ are left alone: Kubernetes, for one, sets some for a service called leo.
    """
    names = {f"LEO_{name.upper()}" for name in Settings.model_fields}
    strange = {name for name in environment if name.upper().startswith("LEO_") and name.upper() not in names}
    likeliest = {name: difflib.get_close_matches(name.upper(), names, n=1, cutoff=0.85) for name in sorted(strange)}
    return {name: found[0] for name, found in likeliest.items() if found}
