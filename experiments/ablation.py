"""What makes a small world model's dreams good: one change at a time, equal computing, in a table.

    python -m experiments.ablation --config=experiments/configs/ablation.py [--workdir=DIR]

Writes: a run directory a variant under --workdir, results/NAME.json and the table results/NAME.md.
Costs: ablation.core_minutes a variant, and about five minutes of looking at its dreams; it can be stopped and goes on.

``ablation.variants`` names what to compare (experiments/study/settings.py): the autoencoder (none, fourfold,
eightfold, with and without its gradient and equivariance terms), the network, motion, own frames in training, noise
on the context, levels, the length of the context. All train on the same demonstrations for as many core-seconds.
"""

import sys

from experiments.planning.group_command import run_with_group


def main(argv):
    """Do what is left of the comparison; returns the exit code."""

    def load():
        from experiments.run import groups
        from experiments.study.ablation import run_ablation
        from experiments.study.settings import ABLATION

        return ABLATION, groups.rules(ABLATION), run_ablation

    return run_with_group(argv, "ablation", "ablation", "ablation.py", load)


if __name__ == "__main__":
    from experiments.run.interruption import exit_process

    exit_process(main(sys.argv[1:]))
