"""The parts of an ONNX graph that is being written: its nodes, its arrays, and what stands for a value in it.

Graphs that share a ``Weights`` share one file of arrays; an array that half precision holds to the last bit is kept as
such, and cast when it is loaded.
"""

import dataclasses

import numpy as np

OPSET = 18
IR_VERSION = 9
"""What ONNX Runtime reads since 1.15."""
LARGE = 256
"""Bytes from which an array is kept outside of the graph."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """What is known when the graph runs.

    Attributes:
      name: in the graph. shape: as it is there; where it is 1 the value that it stands for may be broadcast.
    """

    name: str
    shape: tuple


class Weights:
    """The arrays that graphs share, as one file of bytes.

    Args:
      location: its name, as the graphs write it.
    """

    def __init__(self, location):
        self.location, self._content, self._places = location, bytearray(), {}

    def place(self, array):
        """(offset, length) of an array in the file; the same array has one place."""
        data = array.tobytes()
        key = (array.dtype.str, array.shape, data)
        if key not in self._places:
            self._content += bytes(-len(self._content) % 64)  # aligned
            self._places[key] = (len(self._content), len(data))
            self._content += data
        return self._places[key]

    def content(self):
        """The file, bytes."""
        return bytes(self._content)


class Graph:
    """Nodes and arrays of one graph, in order."""

    def __init__(self, weights):
        import onnx

        self._onnx, self._weights = onnx, weights
        self._nodes, self._arrays, self._names = [], [], {}

    def node(self, operation, *inputs, outputs=1, **attributes):
        """Add a node of ``inputs`` (names, or arrays) and return the name of its output, or a list of several."""
        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        made = [f"t{len(self._nodes)}_{i}" for i in range(outputs)]
        self._nodes.append(self._onnx.helper.make_node(operation, names, made, **attributes))
        return made[0] if outputs == 1 else made

    def constant(self, array):
        """The name of an array that is known."""
        array = np.asarray(array, order="C")
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._names:
            self._names[key] = self._keep(array)
        return self._names[key]

    def _keep(self, array):
        if array.dtype == np.float32 and array.nbytes >= LARGE:
            with np.errstate(over="ignore"):
                half = array.astype(np.float16)
            if np.array_equal(half.astype(np.float32), array):
                return self.node("Cast", self.constant(half), to=self.kind(np.float32))
        name = f"c{len(self._arrays)}"
        if array.nbytes < LARGE:
            self._arrays.append(self._onnx.numpy_helper.from_array(array, name))
            return name
        offset, length = self._weights.place(array)
        tensor = self._onnx.TensorProto(name=name, dims=array.shape, data_type=self.kind(array.dtype))
        tensor.data_location = self._onnx.TensorProto.EXTERNAL
        for key, value in (("location", self._weights.location), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        self._arrays.append(tensor)
        return name

    def kind(self, dtype):
        """ONNX's number of a numpy type."""
        return self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def whole(self, value, shape):
        """The name of a value that has the shape ``shape``, broadcast where it is not yet."""
        if not isinstance(value, Tensor):
            return self.constant(np.broadcast_to(value, shape))
        if value.shape == tuple(shape):
            return value.name
        return self.node("Expand", value.name, np.array(shape, np.int64))

    def serialized(self, name, inputs, outputs):
        """The graph as bytes of a file.

        Args:
          inputs: {name: its ``ShapeDtypeStruct``}. outputs: {name: (value, its ``ShapeDtypeStruct``)}.
        """
        helper = self._onnx.helper
        for key, (value, x) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [self.whole(value, x.shape)], [key]))
        outputs = {key: x for key, (_, x) in outputs.items()}
        described = [
            [helper.make_tensor_value_info(key, self.kind(x.dtype), x.shape) for key, x in side.items()]
            for side in (inputs, outputs)
        ]
        graph = helper.make_graph(self._nodes, name, *described, initializer=self._arrays)
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="prowl_jax")
        return model.SerializeToString(deterministic=True)
