"""What each reward tells apart before anything is trained on it: real clips, dreams, and both made worse.

    python -m experiments.probe --workdir=RUN [--clips=64] [--frames=N] [--output=FILE.json]
    python -m experiments.probe --weights=NAME|FILE ...

Writes: RUN/probe.json, or --output.
Costs: two dreams of each clip and 13 versions of it scored, compiled once: minutes on 2 cores.

RUN is a run directory in which phase 1 has saved a checkpoint; it is only read. --weights takes a shipped model, or a
file of weights, without a run: episodes that it has never seen are recorded as its card says, and NAME_probe.json is
written where the command is called. Without --frames, phase2.horizon latents are looked at, as methods train on.

Every reward that can be computed is asked of held-out clips as they are, static, blurred, shuffled, reversed, dimmed,
darkened and told another clip's actions, of the world model's dreams, of these made worse, and of its dreams under
another clip's actions. A reward by which exact clips do not beat dreams of wrong actions by more than two deviations
teaches little about actions; docs/post_training.md says how to read the rest.
"""

import sys

from experiments.configs import quickstart
from experiments.evaluation.reward_command import run_command


def main(argv):
    """Measure, print, write; returns the exit code."""

    def load():
        from experiments.evaluation import probe

        return probe

    return run_command(argv, "probe", __doc__, quickstart.get_config(), load)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
