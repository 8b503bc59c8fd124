"""Pictures of every mode, depth, format and orientation get one answer: of the service and of an exported folder."""

import base64
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.helpers.drawn import CHARACTERS, canvas, encoded, png
from tests.helpers.modes import MODES, in_mode
from tests.helpers.photographed import product
from tests.helpers.profiles import of_swapped_colours
from tests.helpers.standalone import export, python_classifier
from tests.helpers.tasks import create_from, predict

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
WHITES = (1, 255, 1023, 4095, 16383, 65535, 10**6)
THINGS = ("orange", "carton", "lime")
DRAWN = ("ring", "ex", "tee")


@pytest.fixture(scope="module")
def exported(both: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, Path]]:
    """Tasks of drawings and of photos, and their folders."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    examples = {
        "omniglot": [(name, png(name, seed)) for name in DRAWN for seed in (1, 2)],
        "photos-lite0": [(name, encoded(product(name, seed))) for name in THINGS for seed in (1, 2)],
    }
    tasks = {}
    for model, pairs in examples.items():
        task_id = create_from(both, pairs, model=model).json()["task_id"]
        tasks[model] = task_id, export(both, task_id, tmp_path_factory.mktemp(model), None)
    return tasks


def of_all_modes() -> Iterator[tuple[str, bytes]]:
    """What Pillow writes of each mode in each format."""
    for mode in MODES:
        for kind in FORMATS:
            try:
                yield f"{mode} {kind}", encoded(in_mode(mode, (231, 117)), kind)
            except (OSError, KeyError, ValueError, SystemError):  # the format has no such mode
                continue


def of_all_depths() -> Iterator[tuple[str, bytes]]:
    """One drawing in pixels of 16 and 32 bits, and of shares."""
    levels = np.asarray(canvas(CHARACTERS["ring"], side=150, pen=7, paper=225, ink=20)).astype(np.float64) / 255
    for white in WHITES:
        numbers = levels * white
        if white <= 65535:
            yield f"I;16 PNG {white}", encoded(Image.fromarray(np.round(numbers).astype(np.uint16)), "PNG")
            yield f"I;16 TIFF {white}", encoded(Image.fromarray(np.round(numbers).astype(np.uint16)), "TIFF")
        yield f"I TIFF {white}", encoded(Image.fromarray(np.round(numbers).astype(np.int32)), "TIFF")
        yield f"F TIFF {white}", encoded(Image.fromarray(numbers.astype(np.float32)), "TIFF")
    yield "F TIFF below 0", encoded(Image.fromarray((levels * 9 - 5).astype(np.float32)), "TIFF")


def of_all_orientations() -> Iterator[tuple[str, bytes]]:
    """A wide photo of odd sides that EXIF turns, small and large."""
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for size in ((231, 117), (1201, 907)):
            picture = product("carton", 4, size)
            for kind in ("PNG", "JPEG", "WEBP", "TIFF", "AVIF"):
                lossless = {"lossless": True} if kind == "WEBP" else {}
                yield f"{kind} turned {orientation} {size}", encoded(picture, kind, exif=exif, **lossless)


def of_all_colours() -> Iterator[tuple[str, bytes]]:
    """Palettes with transparency, an animation behind another picture, CMYK, profiles that fit and that do not."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    ring = canvas(CHARACTERS["ring"])
    yield "clear colour", encoded(ring.convert("P"), "PNG", transparency=0)
    yield "clear grey", encoded(ring.convert("L"), "PNG", transparency=255)
    yield "clear shares", encoded(ring.convert("P"), "PNG", transparency=bytes([0, 128, 255]))
    photo = product("orange", 5)
    others = [photo, product("lime", 6)]
    yield "animation", encoded(others[1], "PNG", save_all=True, append_images=others, default_image=True)
    yield "CMYK of sRGB", encoded(photo.convert("CMYK"), "JPEG", icc_profile=srgb)
    yield "swapped colours", encoded(photo, "PNG", icc_profile=of_swapped_colours())
    yield "sRGB", encoded(photo, "JPEG", icc_profile=srgb)
    yield "no profile", encoded(photo, "JPEG", icc_profile=b"junk" * 100)


def expect_one_answer(
    client: httpx.Client, task: tuple[str, Path], pictures: list[tuple[str, bytes]], folder: Path
) -> None:
    """Ask the service and the folder's `predict.py` about image files."""
    task_id, exported = task
    said: list[Any] = []
    for name, data in pictures:
        response = client.post(f"/tasks/{task_id}/predict", files=[("images", ("query", data))])
        said.append(response.json()["predictions"][0] if response.status_code == 200 else response.json()["detail"])
        (folder / name.replace(" ", "_")).write_bytes(data)
    paths = [folder / name.replace(" ", "_") for name, _ in pictures]
    command = [sys.executable, exported / "predict.py", *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    wrong = []
    for (name, _), one, (_, label, share, known) in zip(pictures, said, lines, strict=True):
        if isinstance(one, str):
            agree = "shows no drawing" in one and label == "no drawing found"
        else:
            agree = label == one["label"] and float(share) == pytest.approx(one["confidence"], abs=1e-3)
            agree = agree and float(known) == pytest.approx(one["known"], abs=0.01)
        if not agree:
            wrong.append((name, one, label, share, known))
    assert not wrong, wrong


@pytest.mark.filterwarnings("ignore:.*getdata:DeprecationWarning")  # of pillow-heif, which writes HEIC
@pytest.mark.parametrize("model", ["omniglot", "photos-lite0"])
@pytest.mark.parametrize("pictures", [of_all_modes, of_all_depths, of_all_orientations, of_all_colours])
def test_every_picture_gets_the_services_answer(
    both: httpx.Client, exported: dict[str, tuple[str, Path]], tmp_path: Path, model: str, pictures: Any
) -> None:
    expect_one_answer(both, exported[model], list(pictures()), tmp_path)


@pytest.mark.parametrize("model", ["omniglot", "photos-lite0"])
def test_a_turned_photo_is_the_upright_one(
    both: httpx.Client, exported: dict[str, tuple[str, Path]], model: str
) -> None:
    undone = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # PIL's transpositions that the tag undoes
    for size in ((231, 117), (1201, 907)):
        upright = product("carton", 4, size)
        (expected,) = predict(both, exported[model][0], [encoded(upright)], top_k=3)
        for orientation, method in undone.items():
            exif = Image.Exif()
            exif[0x0112] = orientation
            stored = upright.transpose(Image.Transpose(method))
            files = [encoded(stored, "PNG", exif=exif), encoded(stored, "TIFF", exif=exif)]
            files.append(encoded(stored, "WEBP", exif=exif, lossless=True))
            for answer in predict(both, exported[model][0], files, top_k=3):
                assert [one["label"] for one in answer["top_k"]] == [one["label"] for one in expected["top_k"]]
                for one, other in zip(answer["top_k"], expected["top_k"], strict=True):
                    assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-6)  # batches differ in size


def test_python_takes_bytes_paths_and_open_files(exported: dict[str, tuple[str, Path]], tmp_path: Path) -> None:
    classifier = python_classifier(exported["omniglot"][1])
    path, data = tmp_path / "ring.png", png("ring", 9)
    path.write_bytes(data)
    with path.open("rb") as opened:
        asked = [data, bytearray(data), path, opened, io.BytesIO(data), base64.b64encode(data).decode()]
        assert [answer["label"] for answer in classifier.predict(asked)] == ["ring"] * len(asked)
    assert classifier.classify(str(path))["label"] == "ring"


def test_the_python_file_says_what_it_cannot_read_and_goes_on(
    exported: dict[str, tuple[str, Path]], tmp_path: Path
) -> None:
    ring, words, cut = tmp_path / "ring.png", tmp_path / "words.png", tmp_path / "cut.jpg"
    ring.write_bytes(png("ring", 9))
    words.write_bytes(b"no picture")
    cut.write_bytes(encoded(product("lime", 3), "JPEG")[:4000])
    command = [sys.executable, exported["omniglot"][1] / "predict.py", words, tmp_path / "none.png", cut, ring]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert [line.split("\t")[:2] for line in done.stdout.splitlines()] == [[str(ring), "ring"]]
    assert [line.partition(": ")[0] for line in done.stderr.splitlines()] == [
        str(words),
        str(tmp_path / "none.png"),
        str(cut),
    ]
