"""Meta-training on the device, and what its convolutions alone take."""

import tempfile
from pathlib import Path
from typing import Any

from bench.training import EPISODES_ALONE, convolutions, episodes
from model.data.omniglot import load_drawings
from model.devices import bf16_is_fast, choose
from model.training.presets import PRESETS
from tests.helpers.drawn import write_omniglot

ALPHABETS = [f"Alphabet_{letter}" for letter in "ABCDEFGH"] + ["Tagalog", "Tifinagh"]  # the last two validate


def measure(device_name: str, small: bool) -> dict[str, Any]:
    """Images a second of training on drawings made by code; the data does not matter to the speed."""
    device = choose(device_name)
    config = PRESETS["omniglot"].model_copy(update=EPISODES_ALONE)
    with tempfile.TemporaryDirectory() as folder:
        write_omniglot(Path(folder), ALPHABETS, drawings=20)
        row = episodes(config, load_drawings(Path(folder)), 10 if small else 1500, device)
    row["convolutions_images_per_second"] = convolutions(config, device, bf16_is_fast(device), 2 if small else 30)
    row["share_of_the_convolutions_speed"] = round(row["images_per_second"] / row["convolutions_images_per_second"], 3)
    return row
