"""An exported image tower with its large matrix products in 8-bit integers.

Weights are rounded once, with a scale for each output; activations as they come, with a scale for each
run. A run of one picture makes its embedding independent of the pictures beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

# x86 without VNNI adds pairs of products of a byte and a signed byte in 16 bits, saturating:
# 2 * 255 * 64 still fits, 2 * 255 * 127 does not.
_LARGEST = 64
_SEQUENCES = 3  # dimensions: picture, token, channel
_DOMAIN = "com.microsoft"  # ONNX Runtime's own operators


def quantize(model: ModelProto) -> int:
    """Replace the products of token sequences with constant weights, in place.

    A product of `(n, tokens, width)` is nearly all of the work in a transformer. What is left in float32,
    everything after pooling, costs little and decides much.

    Args:
        model: Exported, with its weights in memory.

    Returns:
        How many products were replaced.
    """
    graph = model.graph
    ranks = {info.name: len(info.type.tensor_type.shape.dim) for info in graph.value_info}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    sums = _bias_sums(graph, weights)
    products = [
        node
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in weights and ranks.get(node.input[0]) == _SEQUENCES
    ]
    for name in dict.fromkeys(node.input[1] for node in products):
        graph.initializer.extend(_rounded(name, numpy_helper.to_array(weights[name])))
    for node in products:
        name, (bias, output) = node.input[1], sums.get(node.output[0], ("", node.output[0]))
        inputs = [node.input[0], f"{name}.int8", f"{name}.scale", "", bias]
        # Its place stays, so that the order of nodes does.
        node.CopyFrom(
            helper.make_node("DynamicQuantizeMatMul", inputs, [output], name=node.name, domain=_DOMAIN)
        )
    done = {node.output[0] for node in products}
    _keep(graph.node, [node for node in graph.node if node.op_type != "Add" or node.output[0] not in done])
    used = {name for node in graph.node for name in node.input}
    _keep(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in used])
    graph.ClearField("value_info")
    model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    return len(products)


def _bias_sums(graph: GraphProto, weights: dict[str, TensorProto]) -> dict[str, tuple[str, str]]:
    """Where all that happens to a tensor is the sum with a bias: its name, to the bias and the sum."""
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found: dict[str, tuple[str, str]] = {}
    for name, nodes in readers.items():
        if [node.op_type for node in nodes] != ["Add"]:
            continue
        for other in nodes[0].input:
            if other in weights and len(weights[other].dims) == 1 and weights[other].dims[0] > 1:
                found[name] = (other, nodes[0].output[0])
    return found


def _keep(field: Any, kept: list[Any]) -> None:
    """Leave only some messages in a repeated field."""
    del field[:]
    field.extend(kept)


def _rounded(name: str, weight: NDArray[Any]) -> list[TensorProto]:
    """The weight in 8 bits, and the scale of each output."""
    scale = np.maximum(np.abs(weight).max(axis=0), 1e-12) / _LARGEST
    exact = weight / scale
    rounded = np.rint(exact)
    # Errors of an output add up where inputs have a mean in common: bytes, what GELU lets pass. So those
    # nearest to the middle are rounded the other way until the errors cancel (least cosine of 250 photos when
    # the patches are rounded too: 0.9985 without, 0.9999 with it).
    error = exact - rounded
    surplus = np.rint(error.sum(axis=0))
    order = np.argsort(-error * np.sign(surplus), axis=0, kind="stable")
    turned = np.arange(len(weight))[:, None] < np.abs(surplus)
    moved = np.take_along_axis(rounded, order, axis=0) + turned * np.sign(surplus)
    np.put_along_axis(rounded, order, moved, axis=0)
    return [
        numpy_helper.from_array(rounded.clip(-_LARGEST, _LARGEST).astype(np.int8), f"{name}.int8"),
        numpy_helper.from_array(scale.astype(np.float32), f"{name}.scale"),
    ]
