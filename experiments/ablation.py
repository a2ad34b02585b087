"""What makes a small world model's dreams good: one change at a time, equal computing, in a table.

    python -m experiments.ablation --config=experiments/configs/ablation.py [--workdir=DIR]

Writes: a run directory a variant under --workdir, results/NAME.json and the table results/NAME.md.
Costs: ablation.core_minutes a variant, and about five minutes of looking at its dreams; it can be stopped and goes on.

``ablation.variants`` names what to compare (experiments/study/settings.py): the autoencoder (none, fourfold,
eightfold, with and without its gradient and equivariance terms), the network, motion, own frames in training, noise
on the context, levels, the length of the context. All train on the same demonstrations for as many core-seconds.
"""

import sys


def main(argv):
    """Do what is left of the comparison; returns the exit code."""
    from experiments.run import interruption

    with interruption.importing():
        from experiments.configs.default import MEANINGS
        from experiments.planning import consistency, preflight
        from experiments.run import command_line, groups
        from experiments.run.failures import guarded
        from experiments.study.ablation import run_ablation
        from experiments.study.settings import ABLATION
    meanings = {**MEANINGS, **groups.meanings(ABLATION)}
    config, workdir = command_line.parse(argv, program="python -m experiments.ablation", meanings=meanings)
    if "ablation" not in config:
        command_line.fail("--config has no group 'ablation'; name experiments/configs/ablation.py")
    command_line.validate(config, (*consistency.RULES, *groups.rules(ABLATION)))
    return guarded(lambda: run_ablation(config, workdir), config, preflight.largest)


if __name__ == "__main__":
    from experiments.run.interruption import exit_process

    exit_process(main(sys.argv[1:]))
