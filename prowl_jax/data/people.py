"""What people did, from the .jsonl files of recordings alone."""

import pathlib

import numpy as np

from prowl_jax.data.vpt import read_ticks, runs
from prowl_jax.data.vpt_records import RecordingError
from prowl_jax.minecraft import minerl_to_factors


def recorded_actions(folder):
    """The actions in the recordings under ``folder``: factors ``[F, A]`` and lengths of their stretches.

    Ticks with an open screen are left out, which cuts a recording, and so are those that an import leaves out by what
    ticks say of themselves (docs/recordings.md).

    Raises:
      RecordingError: there is no recording, or one cannot be read.
    """
    files = sorted(file for file in pathlib.Path(folder).rglob("*") if file.suffix.lower() == ".jsonl")
    if not files:
        raise RecordingError("there is no .jsonl recording in it")
    actions, lengths = [], []
    for file in files:
        ticks = read_ticks(file)
        factors = minerl_to_factors(ticks.action())
        for start, stop in runs(~ticks.gui & ticks.sound):
            actions.append(factors[start:stop])
            lengths.append(stop - start)
    if not actions:
        raise RecordingError("there is no tick without an open screen in it")
    return np.concatenate(actions), lengths
