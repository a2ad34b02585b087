"""A run that takes about as many minutes as it is given: its steps times a share."""

import dataclasses

from experiments.run.config_file import UsageError
from experiments.run.groups import value_of
from prowl_jax.envs.registry import ENVIRONMENTS
from prowl_jax.settings import NOT_NEGATIVE, Check, setting

SCALED = (
    "autoencoder.steps", "world_model.steps", "reference.steps", "inverse_dynamics.steps", "phase2.cycles",
)  # fmt: skip
"""What grows with the minutes."""
PLAYED = ("demonstrations.episodes", "demonstrations.held_out_task_episodes")
"""What shrinks with them, where somebody has to play it."""
FEWEST = 24
"""So many episodes of the demonstrator are played nevertheless."""

_TWO = Check(
    lambda v: len(v) == 2 and v[0] >= 0 and v[1] > 0, "is not (minutes of starting and compiling, of steps)"
)
_NONE = Check(lambda v: v == () or _TWO.holds(v), _TWO.words)


@dataclasses.dataclass(frozen=True)
class BudgetSettings:
    """How long a run may take."""

    minutes: float = setting(0.0, "that the run is to take, by estimate; 0: as many steps as are set", NOT_NEGATIVE)
    estimate: tuple = setting((), "minutes of starting and compiling, and of the steps as they are set", _NONE)


NOISE = 200
"""Of a network that was trained for fewer steps dreams are noise, as far as was seen: of 76 they were."""


def say(config):
    """Print what the minutes that were asked for make of the steps; nothing where none were."""
    if not config.minutes:
        return
    steps, cycles = config.world_model.steps, config.phase2.cycles
    warning = "; of so few steps dreams are noise, give more minutes" if 0 < steps < NOISE else ""
    print(f"minutes={config.minutes:g}: world_model.steps={steps}, phase2.cycles={cycles}{warning}", flush=True)


def fit(config):
    """Scale the steps of ``config`` in place to its ``minutes``; nothing where none are set.

    The same configuration is always scaled alike, so the same command goes on with a run.

    Raises:
      UsageError: the configuration has no estimate, or the minutes do not even start it.
    """
    if not config.minutes or not NOT_NEGATIVE.holds(config.minutes) or not _NONE.holds(config.estimate):
        return  # what is out of range by itself has a line of its own
    if not config.estimate:
        raise UsageError(
            f"minutes={config.minutes:g}: this configuration says no estimate=(START, STEPS) in minutes; python -m "
            "experiments.new writes one that does"
        )
    start, steps = config.estimate
    if config.minutes <= start:
        raise UsageError(f"minutes={config.minutes:g}: starting and compiling alone take about {start:g}; give more")
    share = (config.minutes - start) / steps
    for key in SCALED:
        group, name = key.split(".")
        count = value_of(config, key)
        config[group][name] = max(1, round(count * share)) if count else 0
    environment = ENVIRONMENTS.get(config.env.name)  # None has a line of its own too
    if share < 1 and environment and environment.acts():
        for key, least in zip(PLAYED, (FEWEST, FEWEST // 6), strict=True):
            group, name = key.split(".")
            count = value_of(config, key)
            config[group][name] = min(count, max(least, round(count * share)))
