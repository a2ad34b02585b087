"""Safetensors files as they come: numbers of every type, lone numbers, cut downloads, broken headers."""

import json
import struct

import ml_dtypes
import numpy as np

NARROW = {
    "F64": np.float64,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
}
"""Types of real numbers beside F32, under their names in a file."""
WHOLE = {"BOOL": np.bool_, "I8": np.int8, "U8": np.uint8, "I64": np.int64, "U16": np.uint16}
UNREAD = {"F8_E8M0": ml_dtypes.float8_e8m0fnu, "C64": np.complex64}


def content(arrays, kinds=None, metadata=None):
    """The bytes of a safetensors file, as its format says; no library is asked.

    Args:
      arrays: name -> float32 array. kinds: name -> the type that it is written in; F32 where none is named.
      metadata: text -> text.
    """
    header, blocks, at = {"__metadata__": metadata} if metadata else {}, [], 0
    for name, array in arrays.items():
        kind = (kinds or {}).get(name, "F32")
        dtype = {"F32": np.float32, **NARROW, **WHOLE, **UNREAD}[kind]
        blocks.append(np.asarray(array).astype(dtype).tobytes())
        header[name] = {"dtype": kind, "shape": np.shape(array), "data_offsets": (at, at + len(blocks[-1]))}
        at += len(blocks[-1])
    said = json.dumps(header).encode()
    return struct.pack("<Q", len(said)) + said + b"".join(blocks)


def odd(arrays, metadata, rng):
    """(what is odd, bytes of the file) of one of many ways in which a file of ``arrays`` may come; ``rng`` chooses."""
    name = rng.choice(sorted(arrays))
    way = rng.choice(("types", "type", "lone", "shape", "missing", "more", "cut", "flip", "header", "other"))
    if way in ("types", "type"):
        kind = rng.choice((*NARROW, *WHOLE, *UNREAD))
        return f"{way} {kind}", content(arrays, dict.fromkeys(arrays if way == "types" else [name], kind), metadata)
    if way == "lone":
        return f"{name} a lone number", content(arrays | {name: np.float32(1.0)}, None, metadata)
    if way == "shape":
        shape = [rng.choice((0, 1, 3)) for _ in range(rng.randint(0, 5))]
        return f"{name} of shape {shape}", content(arrays | {name: np.zeros(shape)}, None, metadata)
    if way == "missing":
        return f"no {name}", content({k: v for k, v in arrays.items() if k != name}, None, metadata)
    if way == "more":
        extra = rng.choice((name + "/a", name + ".1", "", "é"))
        return f"{extra} more", content(arrays | {extra: np.zeros(2)}, None, metadata)
    whole = bytearray(content(arrays, None, metadata))
    end = 8 + struct.unpack("<Q", whole[:8])[0]
    if way == "cut":
        return way, bytes(whole[: rng.randrange(len(whole))])
    if way == "flip":
        at = rng.randrange(end)
        whole[at] ^= 1 << rng.randrange(8)
        return f"bit of byte {at}", bytes(whole)
    if way == "header":
        strange = (b"", b"null", b"[]", b"{}", b'{"a": 1}', b"[" * 5000, b'{"a": {"dtype": "F32"}}', b"\xff\xfe")
        said = rng.choice(strange)
        return f"header {said[:30]!r}", struct.pack("<Q", rng.choice((len(said), 2**63, 0))) + said + bytes(16)
    said = rng.choice((b"", b"<html>not found</html>", b"version https://git-lfs.github.com/spec/v1\n", bytes(64)))
    return f"{said[:30]!r}", said
