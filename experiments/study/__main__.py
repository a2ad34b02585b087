"""The study of the paper's claims: several arms and seeds, compared from the same start with the same budget.

    python -m experiments.study --config=experiments/configs/study.py[:arg] [--workdir=DIR]

Writes: a run directory a seed under --workdir, and results/NAME.json and results/NAME.md (``study.results``).
Costs: about two hours on 2 cores for two seeds; it can be stopped and goes on.

Every arm of ``arms`` from the same theta_0 and pi_ref, one pair a seed of ``study.seeds``, with the same updates,
tokens and environment steps; the demonstrations and the autoencoder are the same for all seeds. Stopped at any
point, the same command goes on. As each seed is done, RESULTS/NAME.json and the tables in NAME.md are written.
"""

import sys


def main(argv):
    """Run what is left of the study; returns the exit code."""
    # JAX is imported after the command line has been checked: a mistake is answered at once.
    from experiments.planning import config_rules
    from experiments.run import command_line, interruption

    config, workdir = command_line.parse(argv, program="python -m experiments.study")
    if "study" not in config:
        command_line.fail("--config has no group 'study'; name experiments/configs/study.py")
    command_line.validate(config, (*config_rules.RULES, *RULES))
    with interruption.importing():
        from experiments.planning import preflight
        from experiments.run.failures import guarded
        from experiments.study.grid import run_study
    return guarded(lambda: run_study(config, workdir), config, preflight.largest)


RULES = (
    (
        lambda c: c.study.seeds and len(set(c.study.seeds)) == len(c.study.seeds) and min(c.study.seeds) >= 0,
        "study.seeds={config.study.seeds} is not one or more different whole numbers of at least 0",
    ),
    (lambda c: c.arms, "arms is empty; name rows of experiments/stages/arms.py"),
    (
        lambda c: c.demonstrations.seed >= 0,
        "demonstrations.seed={config.demonstrations.seed}: all seeds of a study share the demonstrations; "
        "give them a seed",
    ),
    (
        lambda c: c.env.name in ("vizdoom", "voxel"),
        "env.name={config.env.name}: a study needs an environment that can be reset from seeds, vizdoom or voxel",
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
    *(
        (
            lambda c, key=key: c.study[key] >= 1,
            f"study.{key}={{config.study.{key}}} is not at least 1",
        )
        for key in (
            *("processes", "side_by_side", "buffer_clips"),
            *("event_rounds", "event_steps", "event_clips", "event_episodes"),
        )
    ),
)

if __name__ == "__main__":
    from experiments.run.interruption import exit_process

    exit_process(main(sys.argv[1:]))
