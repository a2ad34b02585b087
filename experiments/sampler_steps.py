"""How many Euler steps a chunk needs, measured on the world model of a run.

    python -m experiments.sampler_steps --workdir=RUN [--steps=1,2,4,8,16,32] [--cache=window,rolling]
                                        [--set=in_distribution] [--clips=N] [--output=FILE]

Writes: RUN/sampler_steps.json, or --output.
Costs: minutes on 2 cores.

RUN is a run directory in which phase 1 is done. Every number of steps, with either way to keep the past
(world_model.cache), dreams the same held-out clips from the same noise. Printed and written:
regret with its 95 % interval (bootstrap over clips) and against the run's own
setting on the same clips, AFS-EPE, PSNR, sharpness (energy of the image gradients over that of the
real frames) and ms a chunk. Regret and PSNR reward the blurred mean of what may come: read them
beside the sharpness.
"""

import sys

from experiments.configs import quickstart
from experiments.evaluation.sampler_steps import measure_sampler_steps, table
from experiments.run import finished_run
from experiments.run.command_line import UsageError
from experiments.run.directory import Run
from prowl_jax.models.world_model import CACHES

STEPS = (1, 2, 4, 8, 16, 32)
SETS = ("in_distribution", "held_out/TASK", "long_rollout")


def main(argv):
    """Measure, print, write; returns the exit code."""
    options, config, clips = finished_run.parse_options(
        _parser(), argv, quickstart.get_config(), lambda config, options: _set(config, options.set)
    )

    def measured():
        return measure_sampler_steps(Run(options.workdir, config), *clips, options.steps, options.cache, options.clips)

    return finished_run.measure_and_write(options, config, measured, table)


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
    parser = finished_run.parser("sampler_steps", __doc__)
    steps, caches = finished_run.several(finished_run.count), finished_run.several(CACHES)
    parser.add_argument("--steps", type=steps, default=STEPS, metavar="N,...", help="numbers of Euler steps")
    parser.add_argument("--cache", type=caches, default=CACHES, metavar="KIND,...", help=", ".join(CACHES))
    parser.add_argument("--set", default="in_distribution", metavar="SET", help=f"{', '.join(SETS)}")
    parser.add_argument(
        "--clips", type=finished_run.count, metavar="N", help="clips at most (the run's evaluation.clips)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
