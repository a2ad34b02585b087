"""The recordings of people that a configuration names, looked at before anything runs."""

import contextlib
import functools
import os
import pathlib

from experiments.run.config_file import UsageError
from experiments.run.places import said
from prowl_jax.data.people import recorded_actions
from prowl_jax.data.sources import find
from prowl_jax.data.vpt_records import RecordingError

_OTHERS = (
    "recordings that are not Minecraft's become a clip store first (python -m experiments.import_recordings), which "
    "python -m experiments.new --source=STORE takes"
)


def check_recordings(config):
    """UsageError of one line where ``demonstrations.source`` or ``evaluation.action_prior`` cannot be read."""
    if config.demonstrations.source:
        check_source("demonstrations.source", config.demonstrations.source)
    if config.evaluation.action_prior:
        people(config)


def check_outside(config, workdir):
    """UsageError where the run directory lies inside ``demonstrations.source``: what it holds would be read as well."""
    source = config.demonstrations.source
    whole = source and os.path.isdir(source) and pathlib.Path(source).resolve()
    if whole and pathlib.Path(workdir).resolve().is_relative_to(whole):
        raise UsageError(f"--workdir={workdir} lies inside demonstrations.source={source}; name a folder elsewhere")


def check_source(key, source):
    """UsageError, which names ``key``, unless both files of a recording in ``source`` can be opened."""
    try:
        recordings = find(source)[0]
    except (OSError, ValueError) as error:
        if os.path.isdir(source):
            raise UsageError(f"{key}={source}: there is no .mp4 with its .jsonl in it; {_OTHERS}") from None
        raise UsageError(f"{key}={source}: {error}") from None
    for recording in recordings:
        with contextlib.suppress(RecordingError):
            return recording.check()
    raise UsageError(f"{key}={source}: not one recording in it has both its .mp4 and its .jsonl; {_OTHERS}")


def people(config):
    """``recorded_actions`` of ``evaluation.action_prior``; UsageError where there are none."""
    folder = config.evaluation.action_prior
    try:
        return _recorded_actions(folder)
    except (OSError, RecordingError) as error:
        raise UsageError(f"evaluation.action_prior={folder}: {said(error)}") from None


_recorded_actions = functools.cache(recorded_actions)
