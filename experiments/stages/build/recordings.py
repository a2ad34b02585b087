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


def check_recordings(config):
    """UsageError of one line where ``demonstrations.source`` or ``evaluation.action_prior`` cannot be read."""
    if config.demonstrations.source:
        _check_source(config.demonstrations.source)
    if config.evaluation.action_prior:
        people(config)


def check_outside(config, workdir):
    """UsageError where the run directory lies inside ``demonstrations.source``: what it holds would be read as well."""
    source = config.demonstrations.source
    whole = source and os.path.isdir(source) and pathlib.Path(source).resolve()
    if whole and pathlib.Path(workdir).resolve().is_relative_to(whole):
        raise UsageError(f"--workdir={workdir} lies inside demonstrations.source={source}; name a folder elsewhere")


def _check_source(source):
    """UsageError unless a recording of ``source`` has both of its files, and they can be opened."""
    try:
        recordings = find(source)[0]
    except (OSError, ValueError) as error:
        raise UsageError(f"demonstrations.source={source}: {error}") from None
    for recording in recordings:
        with contextlib.suppress(RecordingError):
            return recording.check()
    raise UsageError(f"demonstrations.source={source}: not one recording in it has both its .mp4 and its .jsonl")


def people(config):
    """``recorded_actions`` of ``evaluation.action_prior``; UsageError where there are none."""
    folder = config.evaluation.action_prior
    try:
        return _recorded_actions(folder)
    except (OSError, RecordingError) as error:
        raise UsageError(f"evaluation.action_prior={folder}: {said(error)}") from None


_recorded_actions = functools.cache(recorded_actions)
