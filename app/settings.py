"""Everything the service can be told from outside: environment variables that begin with `LEO_`."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """One field a setting; the description is its documentation. Bad values raise `ValidationError`."""

    model_config = SettingsConfigDict(env_prefix="LEO_", env_ignore_empty=True, frozen=True)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    data_dir: Path = Field(Path("data"), description="folder of the embedded task store")
    store_url: str = Field(
        "",
        description="`redis://...` or `redis+cluster://...`: a task store that replicas share; "
        "empty: the embedded one in `LEO_DATA_DIR`",
    )
    weights: Path = Field(
        PROJECT / "weights" / "omniglot", description="folder of the model to serve: `model.safetensors`, `config.json`"
    )
    models: str = Field(
        "", description="further models to load, separated by commas: names of folders in `weights/`, or paths"
    )
    keys_file: Path | None = Field(
        None, description="file of keys, made by `leo keys add`; without it everyone who reaches the service may use it"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="`auto` takes a GPU where there is one")

    phi_precision: Literal["auto", "int8", "float32"] = Field(
        "auto",
        description="how phi computes: `int8` is faster where a CPU is made for it, `float32` is the same everywhere; "
        "`auto` takes `int8` where it can. Replicas on unlike machines should all have the same",
    )

    workers: int = Field(
        0,
        ge=0,
        description="processes that serve, each with queues and a cache of its own; 0: one a core, at most 4, where "
        "tasks are kept in `LEO_DATA_DIR` and models run on a CPU, else one",
    )

    log_format: Literal["text", "json"] = Field("text", description="log lines for people or as JSON")

    max_body_bytes: int = Field(
        32 * 2**20, ge=1024, description="largest request body, declared or chunked; over it 413"
    )
    max_image_pixels: int = Field(
        50_000_000, ge=1, description="most pixels an image may have, read from its header before decoding; over it 422"
    )
    decode_deadline: float = Field(
        10.0, gt=0, description="seconds that a request's images may take to decode; over it 503"
    )
    max_images: int = Field(1000, ge=1, description="most images in one request")
    max_ways: int = Field(100, ge=2, description="most classes in one task")
    max_label_length: int = Field(100, ge=1, description="most characters in a label or name")
    max_ttl_seconds: int = Field(366 * 86400, ge=1, description="longest `ttl_seconds` a task may ask for")

    cache_bytes: int = Field(
        512 * 2**20, ge=0, description="bytes of tasks and their decoded heads kept in memory, by each worker"
    )
    queue_images: int = Field(4096, ge=1, description="most images waiting for the device; over it 503 at once")
    queue_requests: int = Field(
        128,
        ge=1,
        description="most POST requests under way; over it 503 at once, and then over a 32nd of it while many "
        "are refused",
    )
    queue_bytes: int = Field(
        256 * 2**20, ge=1, description="most bytes of images waiting to be decoded; over it 503 at once"
    )
    request_timeout: float = Field(30.0, gt=0, description="seconds a request may wait for the device; over it 503")
    device_deadline: float = Field(
        20.0, gt=0, description="seconds the device may work on one batch; over it the service counts as hung and exits"
    )
    drain_seconds: float = Field(
        0.0, ge=0, description="seconds to go on serving after SIGTERM with `/readyz` off, for a balancer that asks it"
    )
    stop_seconds: float = Field(30.0, gt=0, description="seconds that accepted work may take after that")
