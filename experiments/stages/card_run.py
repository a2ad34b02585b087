"""A run around a file of weights, by its card's recipe: demonstrations like those that it learned from, but others.

For commands that measure or show weights and have no run directory.
"""

import contextlib
import copy
import pathlib
import tempfile

from ml_collections import ConfigDict

from experiments.run.config_file import UsageError
from experiments.run.directory import Run
from experiments.stages import build
from experiments.stages.demonstrations import make_demonstrations
from prowl_jax import zoo
from prowl_jax.settings import LARGEST


def config_of(name, example):
    """The configuration of a run that begins with the weights ``name``, from their card; locked.

    Args:
      example: a configuration with every key of this version's: what the card does not tell is taken from it.

    Raises:
      UsageError: one line: there are no such weights, they are damaged, or have no card that tells their data.
    """
    try:
        zoo.load(name)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None
    noted = (zoo.read_card(name).get("provenance") or {}).get("config")
    if not noted:
        raise UsageError(f"{name} has no card that says what data it is for; it is asked in a run: --workdir=RUN")
    config = copy.deepcopy(example)
    with config.unlocked():
        _take(config, noted)
        config.base, config.arms, config.env.held_out_tasks = name, (), ()
        config.world_model.weights = ""
    build.check_base(config.lock())
    return config


def _take(config, noted):
    """Values of the keys that both know."""
    for key, value in noted.items():
        if isinstance(config.get(key), ConfigDict):
            _take(config[key], value)
        elif key in config:
            config[key] = tuple(value) if isinstance(value, list) else value


@contextlib.contextmanager
def recorded(config, episodes, frames=None, held_out=1.0):
    """A ``Run`` in a folder that goes with it, with recorded ``episodes``, by default all of them held out but one.

    Args:
      frames: of an episode, where fewer are needed than the card's have. held_out: share of the episodes.
    """
    config = copy.deepcopy(config)
    with config.unlocked():
        d = config.demonstrations
        d.update(episodes=episodes, held_out_fraction=held_out, episode_frames=min(d.episode_frames, frames or LARGEST))
        config.env.num_envs = min(config.env.num_envs, episodes)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(pathlib.Path(folder), config.lock(), owned=False)
        make_demonstrations(run)
        yield run
