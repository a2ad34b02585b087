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
    from experiments.run import interruption

    with interruption.importing():
        from experiments.configs.default import MEANINGS
        from experiments.planning import consistency, preflight
        from experiments.run import command_line, groups
        from experiments.run.failures import guarded
        from experiments.study.grid import run_study
        from experiments.study.settings import RULES, STUDY
    meanings = {**MEANINGS, **groups.meanings(STUDY)}
    config, workdir = command_line.parse(argv, program="python -m experiments.study", meanings=meanings)
    if "study" not in config:
        command_line.fail("--config has no group 'study'; name experiments/configs/study.py")
    command_line.validate(config, (*consistency.RULES, *RULES))
    return guarded(lambda: run_study(config, workdir), config, preflight.largest)


if __name__ == "__main__":
    from experiments.run.interruption import exit_process

    exit_process(main(sys.argv[1:]))
