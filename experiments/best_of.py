"""Does choosing the best of N dreams by a reward move any figure? The free question before reinforcement learning.

    python -m experiments.best_of --workdir=RUN [--clips=64] [--frames=N] [--output=FILE.json]
    python -m experiments.best_of --weights=NAME|FILE ...

Writes: RUN/best_of.json, or --output.
Costs: 16 dreams of each clip, compiled once: minutes on 2 cores.

RUN is a run directory in which phase 1 has saved a checkpoint; it is only read. --weights takes a shipped model, or a
file of weights, without a run: episodes that it has never seen are recorded as its card says, and NAME_best_of.json is
written where the command is called. Without --frames, phase2.horizon latents are dreamt, as methods train on.

Of 16 dreams of each held-out clip the best of 1, 2, 4, 8 and 16 are chosen by each reward that can be computed: regret,
AFS-EPE, sharpness and, where there is a judge, how well it reads the actions, with 95 % intervals (bootstrap over
clips). A reward whose best of 8 moves no figure has nothing to teach; docs/post_training.md says how to read it.
"""

import sys

from experiments.configs import quickstart
from experiments.evaluation.reward_command import run_command


def main(argv):
    """Measure, print, write; returns the exit code."""

    def load():
        from experiments.evaluation import best_of

        return best_of

    return run_command(argv, "best_of", __doc__, quickstart.get_config(), load)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
