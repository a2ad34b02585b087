"""What a person has played (``experiments.live.plays``) as the demonstrations of a task: ``demonstrations.play``."""

import pathlib

from experiments.run.config_file import UsageError
from experiments.stages import trajectory_file
from experiments.stages.build.base import environment_of
from experiments.stages.build.environment import frame_shape, spec_of
from prowl_jax.data.held_out import Origin


def fitting(config, key, path):
    """The ``Trajectories`` of the file ``path``; UsageError names ``key`` where they are none of this environment."""
    try:
        found = trajectory_file.read(path)
    except ValueError as error:
        raise UsageError(f"{key}={error}") from None
    for name, value in environment_of(config).items():
        if found.environment.get(name, value) != value:
            raise UsageError(f"{key}={path} was found with {name}={found.environment[name]}, not {value}")
    if found.spec != spec_of(config) or found.frames.shape[2:] != frame_shape(config):
        raise UsageError(f"{key}={path} has other actions, or frames {found.frames.shape[2:]}, not those here")
    return found


def files(config):
    """The files of ``demonstrations.play``, in order; UsageError where there is none."""
    source = pathlib.Path(config.demonstrations.play)
    found = sorted(source.glob("*.npz")) if source.is_dir() else [source]
    if not found:
        raise UsageError(f"demonstrations.play={source} holds no .npz; play with --plays={source} first")
    return found


def check(config):
    """UsageError of one line where a file of ``demonstrations.play`` is none of this environment."""
    for path in files(config):
        fitting(config, "demonstrations.play", path)


def episodes(config, shortest):
    """Yield what was played, cut to ``demonstrations.episode_frames``: (frames, actions, ``Origin``).

    Args:
      shortest: frames; what is left over and shorter is left out.

    Yields:
      uint8 ``[T, H, W, 3]``, int32 ``[T, A]``, and which steps of which episode of a person's they are.
    """
    longest = config.demonstrations.episode_frames
    for path in files(config):
        played = fitting(config, "demonstrations.play", path)
        for i, about in enumerate(played.found):
            name, begin = about.get("recording", f"{path.stem}_{i}"), about.get("start", 0)
            for at in range(0, played.frames.shape[1], longest):
                frames = played.frames[i, at : at + longest]
                if len(frames) >= shortest:
                    origin = Origin(name, begin + at, begin + at + len(frames))
                    yield frames, played.actions[i, at : at + longest], origin
