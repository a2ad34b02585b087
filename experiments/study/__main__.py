"""The study of the paper's claims: several arms and seeds, compared from the same start with the same budget.

    python -m experiments.study --config=experiments/configs/study.py[:arg] [--workdir=DIR]

Writes: a run directory a seed under --workdir, and results/NAME.json and results/NAME.md (``study.results``).
Costs: what the configuration says; those of study.py two hours on 2 cores; it can be stopped and goes on.

Every arm of ``arms`` from the same theta_0 and pi_ref, one pair a seed of ``study.seeds``, with the same updates,
tokens and environment steps; the demonstrations and the autoencoder are the same for all seeds. Stopped at any
point, the same command goes on. As each seed is done, RESULTS/NAME.json and the tables in NAME.md are written.
"""

import sys

from experiments.planning.group_command import run_with_group


def main(argv):
    """Run what is left of the study; returns the exit code."""

    def load():
        from experiments.study.grid import run_study
        from experiments.study.settings import RULES, STUDY

        return STUDY, RULES, run_study

    return run_with_group(argv, "study", "study", "study.py", load)


if __name__ == "__main__":
    from experiments.run.interruption import exit_process

    exit_process(main(sys.argv[1:]))
