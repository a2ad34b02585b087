"""Reading safetensors files: every type of number that such a file can hold, or one line that says why not.

The format (github.com/huggingface/safetensors): eight bytes of the header's length, a header in JSON, the numbers. The
library holds a file against its header, so that one that was cut off is found as it is opened. Its reader for numpy
knows numpy's own types only; the narrow ones are read here.
"""

import dataclasses
import json
import math
import pathlib
import struct

import ml_dtypes
import numpy as np

_FLOATS = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
}
_OTHERS = {"BOOL": np.bool_, "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64}
_OTHERS |= {"U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64}


@dataclasses.dataclass(frozen=True)
class TensorFile:
    """What the header of a safetensors file says, from ``open_tensors``.

    Attributes:
      path: the file.
      shapes: name -> shape. kinds: name -> type as the file calls it, such as ``"BF16"``.
      metadata: text -> text.
    """

    path: pathlib.Path
    shapes: dict
    kinds: dict
    metadata: dict
    _begins: dict

    def read(self, name):
        """One array from the disk: float32 where it holds real numbers, else as it is.

        Raises:
          ValueError: its type cannot be read.
        """
        becomes, stored = self.dtype(name), np.dtype((_FLOATS | _OTHERS)[self.kinds[name]])
        shape = self.shapes[name]
        with self.path.open("rb") as file:
            file.seek(self._begins[name])
            content = file.read(math.prod(shape) * stored.itemsize)
        return np.frombuffer(content, stored).reshape(shape).astype(becomes)

    def dtype(self, name):
        """The type that ``read`` will give; ValueError where it cannot read it."""
        kind = self.kinds[name]
        if kind in _FLOATS:
            return np.dtype(np.float32)
        if kind in _OTHERS:
            return np.dtype(_OTHERS[kind])
        raise ValueError(f"{self.path} holds {name} as {kind}, which is not read; take weights in float32 or bfloat16")


def open_tensors(path):
    """The ``TensorFile`` of a safetensors file; of its numbers none is read.

    Raises:
      FileNotFoundError: it is not there. ValueError: it is cut off, or none.
      ImportError: safetensors is not installed.
    """
    library, path = safetensors(), pathlib.Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name the .safetensors file in it")
    try:
        with library.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
    except library.SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({_in_words(error)}): it is cut off or something else; "
            "download it again"
        ) from None
    tensors = {name: tensor for name, tensor in header.items() if name != "__metadata__"}
    return TensorFile(
        path=path,
        shapes={name: tuple(tensor["shape"]) for name, tensor in tensors.items()},
        kinds={name: tensor["dtype"] for name, tensor in tensors.items()},
        metadata=metadata,
        _begins={name: 8 + length + tensor["data_offsets"][0] for name, tensor in tensors.items()},
    )


def safetensors():
    """The library; ImportError of one line where it is not installed."""
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("published weights need safetensors: pip install 'prowl_jax[vpt]'") from error
    return safetensors


def _in_words(error):
    return str(error).splitlines()[0][:120]
