"""Settings of a study, and what of the rest it asks for."""

import dataclasses

from experiments.run import groups
from prowl_jax.envs import registry
from prowl_jax.settings import COUNT, Check, setting

SEEDS = Check(
    lambda v: v and len(set(v)) == len(v) and min(v) >= 0, "is not one or more different whole numbers of at least 0"
)

SEEDED = registry.names(lambda environment: environment.seeded)


@dataclasses.dataclass(frozen=True)
class StudySettings:
    """How many seeds, and what is measured of each."""

    seeds: tuple = setting((0, 1, 2), "of the arms; what is missing of them is done", SEEDS)
    processes: int = setting(2, "seeds at a time, each on its share of a CPU's cores; not on an accelerator", COUNT)
    side_by_side: int = setting(
        1, "seeds whose arms run as one program: an accelerator with room (phase2.program=device)", COUNT
    )
    results: str = setting("results", "the folder of NAME.json and NAME.md")
    buffer_clips: int = setting(128, "of each arm's buffer, at most, that all arms are measured on", COUNT)
    event_rounds: int = setting(
        2, "times phase2.trajectories, of every last policy, where the world knows events", COUNT
    )
    event_steps: int = setting(256, "of each of these, in which events are counted", COUNT)
    event_clips: int = setting(24, "of one kind of event, at most", COUNT)
    event_episodes: int = setting(64, "demonstrations in which events are counted", COUNT)


STUDY = {"study": (StudySettings,)}
"""As ``configs.default.GROUPS``."""

RULES = (
    *groups.rules(STUDY),
    (lambda c: c.arms, "arms is empty; name rows of experiments/stages/arms.py"),
    (
        lambda c: c.demonstrations.seed >= 0,
        "demonstrations.seed={config.demonstrations.seed}: all seeds of a study share the demonstrations; "
        "give them a seed",
    ),
    (
        lambda c: c.env.name in SEEDED,
        "env.name={config.env.name}: a study needs an environment that can be reset from seeds, "
        f"{' or '.join(SEEDED)}",
    ),
    (
        lambda c: c.evaluation.horizon == c.phase2.horizon,
        (
            "evaluation.horizon={config.evaluation.horizon} is not phase2.horizon={config.phase2.horizon}: "
            "critical trajectories are of both"
        ),
    ),
    (
        lambda c: c.study.side_by_side <= 1 or (c.phase2.program == "device" and c.on_nan == "stop"),
        "study.side_by_side={config.study.side_by_side} needs phase2.program=device and on_nan=stop",
    ),
)
"""Pairs for ``command_line.validate``: its own settings' checks, and what it asks of the rest."""
