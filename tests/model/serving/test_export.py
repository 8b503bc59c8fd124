"""Exported graphs read pictures as the service does, pixel for pixel."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image, ImageFilter

from model.images.drawings import NoDrawing
from model.images.reader import DrawingReader, PhotoReader
from model.onnx_runtime import session
from model.serving.export.drawings import drawing_to_input
from model.serving.export.photos import photo_to_input
from model.serving.export.values import Value
from model.serving.onnx_graph import GraphBuilder
from tests.helpers.drawn import CHARACTERS, canvas, photo
from tests.helpers.photographed import product

Run = Callable[[Image.Image], tuple[NDArray[np.uint8], bool]]


def reading(side: int, *, drawings: bool) -> Run:
    """A function that reads a picture through a graph: to phi's input, and whether it shows anything."""
    graph = GraphBuilder()
    picture = Value(graph, "picture", np.uint8)
    if drawings:
        pixels, found = drawing_to_input(picture, side)
        pixels = pixels.reshape(-1).node("Concat", found.to(np.uint8), axis=0)
    else:
        pixels = photo_to_input(picture, side).transpose(1, 2, 0).reshape(-1)
    pixels.node("Identity", output="pixels")
    given = helper.make_tensor_value_info("picture", TensorProto.UINT8, ["height", "width", "channels"])
    run = session(
        graph.serialise("reader", [given], [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n"])], {})
    )

    def through_graph(picture: Image.Image) -> tuple[NDArray[np.uint8], bool]:
        pixels = np.asarray(picture)
        (values,) = run.run(None, {"picture": pixels[..., np.newaxis] if pixels.ndim == 2 else pixels})
        if drawings:
            return values[:-1].reshape(side, side), bool(values[-1])
        return values.reshape(side, side, 3), True

    return through_graph


@pytest.fixture(scope="module", params=[28, 105])
def drawings(request: pytest.FixtureRequest) -> tuple[Run, DrawingReader]:
    return reading(request.param, drawings=True), DrawingReader(request.param)


RING, EX, ZED = (CHARACTERS[name] for name in ("ring", "ex", "zed"))
GREY_PHOTO = photo(ZED, seed=4).convert("L")
DRAWN = {
    "canvas": canvas(RING),
    "light on dark": canvas(EX, ink=255, paper=0),
    "faint": canvas(RING, ink=150, paper=190),
    "colours": canvas(EX, mode="RGB", ink=(150, 30, 90), paper=(230, 220, 180)),
    "tiny": canvas(RING, side=17, pen=1),
    "fine pen": canvas(EX, side=800, pen=2),
    "in a corner": canvas(ZED, side=500, pen=3, box=(0, 0, 0.1)),
    "far wider than high": canvas(RING, side=1500, pen=60).resize((1700, 90)),
    "far higher than wide": canvas(RING, side=1500, pen=60).resize((90, 1701)),
    "smoothed": canvas(ZED, side=401, pen=20).filter(ImageFilter.GaussianBlur(3)),
    "photo": photo(ZED, seed=3),
    "small photo": photo(EX, seed=5, size=(420, 390)),
    "grey photo": GREY_PHOTO,
    "dark photo": Image.fromarray(255 - np.asarray(GREY_PHOTO)),
    "transparent, dark ink": canvas(RING, mode="RGBA", ink=(0, 0, 0, 255), paper=(0, 0, 0, 0)),
    "transparent, light ink": canvas(RING, mode="RGBA", ink=(250, 250, 200, 255), paper=(0, 0, 0, 0)),
    "half transparent": canvas(EX, side=900, pen=40, mode="RGBA", ink=(20, 90, 10, 130), paper=(255, 255, 255, 90)),
    "grey and alpha": canvas(ZED, side=300, mode="LA", ink=(40, 255), paper=(255, 10)),
    "huge": canvas(EX, side=2600, pen=90, mode="RGB", ink=(0, 0, 0), paper=(255, 255, 255)),
}


@pytest.mark.parametrize("name", DRAWN)
def test_drawings_are_framed_as_the_service_frames_them(drawings: tuple[Run, DrawingReader], name: str) -> None:
    run, read = drawings
    pixels, found = run(DRAWN[name])
    assert found
    np.testing.assert_array_equal(pixels, read(DRAWN[name]))


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("L", (1, 1)),
        Image.new("L", (50, 50), 128),
        Image.new("RGBA", (700, 30)),
        Image.fromarray(np.random.default_rng(0).normal(128, 3, (300, 300)).clip(0, 255).astype(np.uint8)),
    ],
    ids=["one pixel", "grey", "transparent", "grain"],
)
def test_where_the_service_finds_no_drawing_the_graph_finds_none(
    drawings: tuple[Run, DrawingReader], picture: Image.Image
) -> None:
    run, read = drawings
    with pytest.raises(NoDrawing):
        read(picture)
    assert run(picture)[1] is False


def see_through(size: tuple[int, int], mode: str) -> Image.Image:
    """Smooth colours and a smooth alpha channel."""
    coarse = np.random.default_rng(3).integers(0, 256, (9, 9, len(mode)), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


PHOTOS = {
    "its own size": product("lime", 1, (224, 224)),
    "wide": product("lime", 1),
    "odd": product("brick", 2, (301, 224)),
    "smaller": product("carton", 3, (61, 40)),
    "one pixel": Image.new("RGB", (1, 1), (200, 30, 40)),
    "a line": Image.new("L", (3, 700), 90),
    "large": product("orange", 4, (1301, 1000)),
    "larger": product("orange", 4, (2801, 2100)),
    "grey": product("lime", 5).convert("L"),
    "transparent": see_through((640, 480), "RGBA"),
    "transparent and small": see_through((100, 101), "RGBA"),
    "grey and alpha": see_through((500, 501), "LA"),
}


@pytest.mark.parametrize("name", PHOTOS)
def test_photos_are_resized_as_the_service_resizes_them(name: str) -> None:
    pixels, _ = reading(224, drawings=False)(PHOTOS[name])
    np.testing.assert_array_equal(pixels, PhotoReader(224)(PHOTOS[name]))
