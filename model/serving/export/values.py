"""Values of an ONNX graph that is being built, with Python's operators, so that a graph reads as a computation does.

What NumPy has as a number is a vector of one element here, since ONNX's operators for shapes take vectors.
"""

from collections.abc import Callable
from typing import Any, Union

import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import helper, numpy_helper

from model.serving.onnx_graph import GraphBuilder

Number = Union["Value", int, float]


class Value:
    """The output of a node, a constant, or an input of a graph. Operators and methods add nodes to the graph."""

    def __init__(self, graph: GraphBuilder, name: str, dtype: DTypeLike) -> None:
        self.graph, self.name, self.dtype = graph, name, np.dtype(dtype)

    def as_integer(self, number: Number) -> "Value":
        """A length or position: a plain number becomes an int64 constant."""
        return number if isinstance(number, Value) else self.constant(number, np.int64)

    def node(self, kind: str, *others: "Value", dtype: DTypeLike | None = None, **attributes: Any) -> "Value":
        """Add a node whose first input is this value; its output has the same type unless `dtype` names another."""
        name = self.graph.add(kind, self.name, *(other.name for other in others), **attributes)
        return Value(self.graph, name, self.dtype if dtype is None else dtype)

    def constant(self, values: Any, dtype: DTypeLike | None = None) -> "Value":
        """A constant in this value's graph, of this value's type unless `dtype` names another."""
        array = np.atleast_1d(np.asarray(values, dtype=self.dtype if dtype is None else dtype))
        return constant(self.graph, array)

    def as_value(self, other: Number) -> "Value":
        """The other operand of an operator: a plain number becomes a constant of this value's type."""
        return other if isinstance(other, Value) else self.constant(other)

    def __add__(self, other: Number) -> "Value":
        return self.node("Add", self.as_value(other))

    def __sub__(self, other: Number) -> "Value":
        return self.node("Sub", self.as_value(other))

    def __mul__(self, other: Number) -> "Value":
        return self.node("Mul", self.as_value(other))

    def __truediv__(self, other: Number) -> "Value":
        """Divide; integers are rounded towards 0."""
        return self.node("Div", self.as_value(other))

    def __mod__(self, other: Number) -> "Value":
        return self.node("Mod", self.as_value(other))

    def __neg__(self) -> "Value":
        return self.node("Neg")

    def __abs__(self) -> "Value":
        return self.node("Abs")

    def __lt__(self, other: Number) -> "Value":
        return self.node("Less", self.as_value(other), dtype=np.bool_)

    def __gt__(self, other: Number) -> "Value":
        return self.node("Greater", self.as_value(other), dtype=np.bool_)

    def __le__(self, other: Number) -> "Value":
        return self.node("LessOrEqual", self.as_value(other), dtype=np.bool_)

    def __ge__(self, other: Number) -> "Value":
        return self.node("GreaterOrEqual", self.as_value(other), dtype=np.bool_)

    def __and__(self, other: "Value") -> "Value":
        return self.node("And", other)

    def __or__(self, other: "Value") -> "Value":
        return self.node("Or", other)

    def __invert__(self) -> "Value":
        return self.node("Not")

    def __matmul__(self, other: "Value") -> "Value":
        return self.node("MatMul", other)

    def equals(self, other: Number) -> "Value":
        return self.node("Equal", self.as_value(other), dtype=np.bool_)

    def where(self, yes: "Value", no: "Value") -> "Value":
        """This condition's choice between two values, element by element."""
        return self.node("Where", yes, no, dtype=yes.dtype)

    def maximum(self, other: Number) -> "Value":
        return self.node("Max", self.as_value(other))

    def minimum(self, other: Number) -> "Value":
        return self.node("Min", self.as_value(other))

    def to(self, dtype: DTypeLike) -> "Value":
        """Convert to another type; floats are rounded towards 0 when they become integers."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.node("Cast", dtype=dtype, to=kind)

    def floor(self) -> "Value":
        return self.node("Floor")

    def ceil(self) -> "Value":
        return self.node("Ceil")

    def round(self) -> "Value":
        """Round to the nearest integer, halves to the even one, as Python does."""
        return self.node("Round")

    def round_half_away(self) -> "Value":
        """Round to the nearest integer, halves away from 0."""
        return (abs(self) + 0.5).floor() * self.node("Sign")

    def size(self, axis: int) -> "Value":
        """The length of an axis, int64 [1]."""
        return self.node("Shape", dtype=np.int64, start=axis, end=axis + 1)

    def sum(self, *axes: int, keep: bool = False) -> "Value":
        return self.node("ReduceSum", self.constant(axes, np.int64), keepdims=int(keep))

    def total(self) -> "Value":
        """The sum of all elements, [1]."""
        return self.reshape(-1).node("ReduceSum", keepdims=1)

    def highest(self, axis: int) -> "Value":
        return self.node("ReduceMax", self.constant(axis, np.int64), keepdims=0)

    def any(self) -> "Value":
        """Whether any element is True, [1]."""
        return self.to(np.float32).total() > 0

    def first_true(self, axis: int = 0) -> "Value":
        """Position of the first True of a vector, int64 [1]; 0 if there is none."""
        return self.to(np.int32).node("ArgMax", dtype=np.int64, axis=axis, keepdims=1)

    def last_true(self, axis: int = 0) -> "Value":
        """Position of the last True of a vector, int64 [1]; the last of all if there is none."""
        return self.to(np.int32).node("ArgMax", dtype=np.int64, axis=axis, keepdims=1, select_last_index=1)

    def reshape(self, *shape: Number) -> "Value":
        """-1 stands for what is left."""
        sizes = [self.as_integer(size) for size in shape]
        return self.node("Reshape", join(*sizes))

    def transpose(self, *axes: int) -> "Value":
        return self.node("Transpose", perm=list(axes))

    def slice(self, start: Number, end: Number, axis: int) -> "Value":
        bounds = (self.as_integer(bound) for bound in (start, end))
        return self.node("Slice", *bounds, self.constant(axis, np.int64))

    def pad(self, *widths: Number) -> "Value":
        """Pad with 0: widths before each axis, then after each axis."""
        values = [self.as_integer(width) for width in widths]
        return self.node("Pad", join(*values))

    def take(self, positions: "Value", axis: int = 0) -> "Value":
        return self.node("Gather", positions, axis=axis)

    def ascending(self, count: "Value | int | None" = None) -> tuple["Value", "Value"]:
        """The `count` smallest of each row or of a vector, in order, and their positions. Default: all of a vector."""
        wanted = self.size(0) if count is None else self.as_integer(count)
        names = [self.graph.name("sorted"), self.graph.name("positions")]
        self.graph.add_outputs("TopK", self.name, wanted.name, outputs=names, axis=-1, largest=0)
        return Value(self.graph, names[0], self.dtype), Value(self.graph, names[1], np.int64)

    def largest_around(self) -> "Value":
        """The largest of each element of a matrix [h,w] and its eight neighbours."""
        batch = self.reshape(1, 1, self.size(0), self.size(1))
        pooled = batch.node("MaxPool", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        return pooled.reshape(self.size(0), self.size(1))

    def scatter(self, positions: "Value", updates: "Value", how: str) -> "Value":
        """This vector with updates at positions; `how` several meet, "add" or "max"."""
        return self.node("ScatterElements", positions, updates, axis=0, reduction=how)

    def zeros(self, size: "Value") -> "Value":
        """Zeros of this value's type, [size]."""
        return self.constant(0).node("Expand", size)


def constant(graph: GraphBuilder, array: NDArray[Any]) -> Value:
    """Add a constant of the array's own type and shape."""
    name = graph.name("constant")
    graph.constants.append(numpy_helper.from_array(array, name))
    return Value(graph, name, array.dtype)


def join(*vectors: Value) -> Value:
    """Join vectors."""
    return vectors[0].node("Concat", *vectors[1:], axis=0)


def count_up(end: Value) -> Value:
    """The integers from 0 to `end`, exclusive: int64 [1] -> int64 [end]."""
    scalars = [end.constant(0), end, end.constant(1)]
    first, last, step = (each.node("Squeeze") for each in scalars)
    return first.node("Range", last, step)


def choose(condition: Value, yes: Callable[[], Value], no: Callable[[], Value]) -> Value:
    """Compute one of two values, by a condition [1]; the nodes of the other do not run."""
    graph, branches = condition.graph, []
    for branch in (yes, no):
        with graph.subgraph() as nodes:
            result = branch()
        output = helper.make_tensor_value_info(result.name, helper.np_dtype_to_tensor_dtype(result.dtype), None)
        branches.append(helper.make_graph(nodes, graph.name("branch"), [], [output]))
    name = graph.add("If", condition.name, then_branch=branches[0], else_branch=branches[1])
    return Value(graph, name, result.dtype)


def repeat_until_it_stays(start: Value, step: Callable[[Value], Value]) -> Value:
    """Apply a step to a vector until it changes nothing."""
    graph = start.graph
    kind = helper.np_dtype_to_tensor_dtype(start.dtype)
    state, turn, going = graph.name("state"), graph.name("turn"), graph.name("going")
    with graph.subgraph() as nodes:
        before = Value(graph, state, start.dtype)
        after = step(before)
        changed = (~after.equals(before)).any().node("Squeeze")
    inputs = [
        helper.make_tensor_value_info(turn, onnx.TensorProto.INT64, []),
        helper.make_tensor_value_info(going, onnx.TensorProto.BOOL, []),
        helper.make_tensor_value_info(state, kind, [None]),
    ]
    outputs = [
        helper.make_tensor_value_info(changed.name, onnx.TensorProto.BOOL, []),
        helper.make_tensor_value_info(after.name, kind, [None]),
    ]
    body = helper.make_graph(nodes, graph.name("body"), inputs, outputs)
    return Value(graph, graph.add("Loop", "", "", start.name, body=body), start.dtype)
