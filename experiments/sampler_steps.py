"""How many Euler steps a chunk needs, and at which noise levels, measured on a world model.

    python -m experiments.sampler_steps --workdir=RUN [--steps=1,2,4,8,16,32] [--cache=window,rolling]
                                        [--levels=1,.36,.05,0 --levels=... ]
                                        [--set=in_distribution] [--clips=N] [--output=FILE]
    python -m experiments.sampler_steps --weights=NAME|FILE ...

Writes: RUN/sampler_steps.json, or --output.
Costs: minutes on 2 cores.

RUN is a run directory in which phase 1 is done; --weights takes a shipped model, or a file of weights, without a run:
episodes that it has never seen are recorded as its card says, and NAME_sampler_steps.json is written where the command
is called. Of a transformer every number of steps, with either way to keep the past (world_model.cache), dreams the same
held-out clips from the same noise; of a U-Net every list of levels, from 1 down to 0, an evaluation for each but the
last, or with --steps so many levels between and beyond its own. A network that takes shortcuts
(world_model.objective=shortcut) takes steps of one length, powers of two. Printed and written: regret with its 95 %
interval (bootstrap over clips) and against the own setting on the same clips, AFS-EPE, PSNR, sharpness (energy of the
image gradients over that of the real frames) and ms a chunk. Regret and PSNR reward the blurred mean of what may come:
read them beside the sharpness.
"""

import argparse
import sys

from experiments.configs import quickstart
from experiments.run import finished_run
from experiments.run.command_line import UsageError
from experiments.stages.run_or_weights import asked_run, config_of_weights
from prowl_jax.models.unet.world_model import falls_to_0
from prowl_jax.models.world_model import CACHES

STEPS = (1, 2, 4, 8, 16, 32)
LEVELS = ((1.0, 0.0), (1.0, 0.13, 0.0), (1.0, 0.36, 0.05, 0.0), (1.0, 0.5, 0.2, 0.05, 0.0))
SETS = ("in_distribution", "held_out/TASK", "long_rollout")
EPISODES, FRAMES = 24, 100
"""Recorded for --weights: episodes, and frames of each at least."""


def main(argv):
    """Measure, print, write; returns the exit code."""
    options, config, clips = finished_run.parse_options(
        _parser(), argv, quickstart.get_config(), _check, of_weights=config_of_weights
    )

    def measured():
        from experiments.evaluation.sampler_steps import measure_sampler_steps, variants_of
        from experiments.stages import build

        levels = options.levels or (None if options.steps or config.world_model.objective == "shortcut" else LEVELS)
        asked = (options.steps or STEPS, options.cache or CACHES, levels)
        variants = variants_of(build.make_world_model(config), *asked)
        with asked_run(options, config, EPISODES, max(FRAMES, 2 * clips[1])) as run:
            return measure_sampler_steps(run, *clips, variants, options.clips)

    def text(result):
        from experiments.evaluation.sampler_steps import table

        return table(result)

    return finished_run.measure_and_write(options, config, measured, text)


def _check(config, options):
    """(task, horizon, clips) of the set; UsageError where a flag is of the other network."""
    network = config.world_model.network
    for name in ("cache",) if network == "unet" else ("levels",):
        if getattr(options, name):
            takes = "--levels or --steps" if network == "unet" else "--steps and --cache"
            raise UsageError(f"--{name}: world_model.network={network} takes {takes}")
    if options.levels and (options.steps or config.world_model.objective == "shortcut"):
        raise UsageError("--levels: steps of --steps, and of a network that takes shortcuts, have levels of their own")
    return _set(config, options.set)


def _set(config, name):
    """(task, horizon, clips) of a set by name; UsageError names those that there are."""
    e = config.evaluation
    sets = {"in_distribution": (config.env.task, e.horizon, e.clips)}
    sets |= {f"held_out/{task}": (task, e.horizon, e.clips) for task in config.env.held_out_tasks}
    sets["long_rollout"] = (config.env.task, e.long_horizon, e.long_clips)
    if name not in sets:
        raise UsageError(f"--set={name} is not one of {', '.join(sets)}")
    return sets[name]


def _parser():
    parser = finished_run.parser("sampler_steps", __doc__, or_weights=True)
    steps, caches = finished_run.several(finished_run.count), finished_run.several(CACHES)
    parser.add_argument("--steps", type=steps, metavar="N,...", help="numbers of Euler steps")
    parser.add_argument("--cache", type=caches, metavar="KIND,...", help=", ".join(CACHES))
    parser.add_argument("--levels", type=_levels, action="append", metavar="S,...", help="noise levels of a U-Net")
    parser.add_argument("--set", default="in_distribution", metavar="SET", help=f"{', '.join(SETS)}")
    parser.add_argument(
        "--clips", type=finished_run.count, metavar="N", help="clips at most (the run's evaluation.clips)"
    )
    return parser


def _levels(text):
    try:
        levels = tuple(map(float, text.split(",")))
    except ValueError:
        levels = ()
    if not falls_to_0(levels):
        raise argparse.ArgumentTypeError(f"{text!r} does not fall from 1 to 0")
    return levels


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
