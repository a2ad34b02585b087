"""Policies made in the dreams of a world model: what they gain there at each temperature, and in reality.

    python -m experiments.dream_policy --config=experiments/configs/dream_voxel.py [--workdir=DIR]

Writes: the run directory, runs/NAME unless --workdir says otherwise, results/NAME.json and the table results/NAME.md.
Costs: a learner for every temperature and seed, each as many dreamt frames as its settings say; it can be stopped.

Heads for reward and end are trained on real play; then PPO on the cloned policy, and CMA-ES on a linear controller,
learn in dreams that begin in real contexts, at several temperatures of the dream's noise. Every policy is measured in
dreams, which begin where recorded episodes do or anywhere in them, and in real episodes, the same for all; beside them
a random policy, the cloned one, the script that knows the goal, and PPO in reality. The second table says how well the
dreams of each world model order all of them: theta_0, the ``arms`` of the configuration, and ``dream.world_models``.
"""

import sys

from experiments.planning.group_command import run_with_group


def main(argv):
    """Do what is left; returns the exit code."""

    def load():
        from experiments.dreams.settings import DREAM, RULES
        from experiments.dreams.transfer import run_dreams

        return DREAM, RULES, run_dreams

    return run_with_group(argv, "dream", "dream_policy", "dream_voxel.py", load)


if __name__ == "__main__":
    from experiments.run.interruption import exit_process

    exit_process(main(sys.argv[1:]))
