"""Trajectories in a file: what somebody found, to be looked at and to be taken into phase 2 (``phase2.include``).

An .npz of ``frames`` uint8 ``[n, T, H, W, 3]``, ``actions`` int32 ``[n, T, A]`` (``actions[:, t]`` leads from frame t
to frame t + 1), and ``about``, JSON: ``format``, ``spec``, ``environment`` (keys of a configuration: what they were
found in) and ``found``, an object for each of them: who, when, in what, how it was scored.
"""

import dataclasses
import io
import json
import zipfile

import numpy as np

from experiments.run.files import write_bytes
from prowl_jax.actions import ActionSpec

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Trajectories:
    """The content of such a file; see the module's docstring.

    Attributes:
      frames: uint8 ``[n, T, H, W, 3]``. actions: int32 ``[n, T, A]``. spec: their ``ActionSpec``.
      environment: key of a configuration -> value. found: n dicts.
    """

    frames: np.ndarray
    actions: np.ndarray
    spec: ActionSpec
    environment: dict
    found: list


def as_bytes(trajectories):
    """The file's content."""
    about = {
        "format": FORMAT,
        "spec": trajectories.spec.to_json(),
        "environment": trajectories.environment,
        "found": trajectories.found,
    }
    file = io.BytesIO()
    np.savez_compressed(
        file, frames=trajectories.frames, actions=trajectories.actions, about=np.array(json.dumps(about))
    )
    return file.getvalue()


def write(path, trajectories):
    """Write them as a whole or not at all."""
    write_bytes(path, as_bytes(trajectories))


def read(path):
    """The ``Trajectories`` in a file.

    Raises:
      ValueError: one line: it is not there, or is not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            frames, actions, about = file["frames"], file["actions"], json.loads(str(file["about"]))
        spec, environment, found = ActionSpec.from_json(about["spec"]), about["environment"], about["found"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} holds no trajectories: {str(error).splitlines()[0]}") from None
    if about.get("format") != FORMAT:
        raise ValueError(f"{path} is of format {about.get('format')}, this is format {FORMAT}")
    whole = frames.ndim == 5 and frames.dtype == np.uint8 and frames.shape[-1] == 3 and actions.ndim == 3
    if not whole or frames.shape[:2] != actions.shape[:2] or len(found) != len(frames) or not len(frames):
        raise ValueError(f"{path}: {len(found)} finds, frames {frames.shape} and actions {actions.shape} do not fit")
    return Trajectories(frames, spec.check(actions), spec, environment, found)
