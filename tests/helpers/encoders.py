"""Small image encoders with random weights, made on the spot."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, WIDTH = 32, 12


def write_encoder(
    path: Path, seed: int = 0, *, sequence: bool = False, in_8_bits: bool = False, width: int = WIDTH, side: int = SIDE
) -> Path:
    """Write an encoder to an ONNX file: images [B,3,R,R] -> [B,W], or tokens [B,4,W].

    It sees the colours of a 4x4 grid. In 8 bits its activations' range is that of the whole batch.
    """
    random = np.random.default_rng(seed)
    weights = [
        numpy_helper.from_array(random.normal(size=(3 * 16, width)).astype(np.float32), "weight"),
    ]
    patch = side // 4
    nodes = [
        helper.make_node("AveragePool", ["pixels"], ["cells"], kernel_shape=[patch, patch], strides=[patch, patch]),
        helper.make_node("Flatten", ["cells"], ["flat"], axis=1),
    ]
    if in_8_bits:
        levels = random.integers(-127, 128, (3 * 16, width)).astype(np.int8)
        weights = [numpy_helper.from_array(levels, "levels")]
        nodes += [
            helper.make_node("DynamicQuantizeLinear", ["flat"], ["bytes", "scale", "zero"]),
            helper.make_node("MatMulInteger", ["bytes", "levels", "zero"], ["sums"]),
            helper.make_node("Cast", ["sums"], ["float_sums"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["float_sums", "scale"], ["vectors"]),
        ]
    else:
        weights = weights[:1]
        nodes.append(helper.make_node("MatMul", ["flat", "weight"], ["vectors"]))
    output, shape = "vectors", ["batch", width]
    if sequence:
        weights.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "place"))
        weights.append(numpy_helper.from_array(np.array([1, 4, 1], dtype=np.int64), "four"))
        nodes += [
            helper.make_node("Unsqueeze", ["vectors", "place"], ["token"]),
            helper.make_node("Tile", ["token", "four"], ["tokens"]),
        ]
        output, shape = "tokens", ["batch", 4, width]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 3, side, side])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=7)
    onnx.save(model, path)
    return path


def write_preprocessing(folder: Path, mean: float, std: float) -> None:
    """Write a hub's file of settings beside an encoder."""
    settings = {"image_mean": [mean] * 3, "image_std": [std] * 3, "crop_size": {"height": SIDE, "width": SIDE}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
