"""What there is to learn in what a policy finds, without the loop around it.

    python -m experiments.learnability --workdir=RUN [--policies=prowl,frozen_reference] [--trajectories=64,512]
                                       [--trainable=phase2,all] [--priority=uniform]
                                       [--updates=360] [--output=FILE]

Writes: RUN/learnability.json, or --output.
Costs: for each policy, number of trajectories and trained part one phase 2 of --updates, without its cycles.

RUN is a run directory, or a seed's of a study, in which the arms whose last policies are asked for are done
(``frozen_reference`` is pi_ref). For every policy, number of trajectories and trained part (what phase 2
trains, or all), theta_0 is fine-tuned as in phase 2, on half passive data and half those trajectories, all
of them collected at once and scored once; what it is measured on comes from other seeds. Printed and
written: regret against theta_0's in per cent, all clips and theta_0's hardest decile, with
95 % intervals (bootstrap over clips, of these very models), on the trajectories it was trained on, on fresh
ones of each policy, in distribution and on the held-out tasks. Where the first falls and the others do not,
it has learned by heart.
"""

import sys

from experiments.configs import quickstart
from experiments.run import finished_run
from experiments.run.command_line import UsageError
from experiments.run.places import read_stages
from experiments.stages.arms import ARMS
from experiments.study.grid import open_run
from experiments.study.learnability import measure_learnability
from experiments.study.settings import TRAINABLE
from prowl_jax.envs.registry import ENVIRONMENTS

PRIORITIES = ("uniform", "rank")
HUNTERS = tuple(
    name for name, arm in ARMS.items() if arm.method == "prowl" and arm.settings.get("phase2.pat_share") != 0.0
)
"""Arms that learn from what a policy finds."""


def main(argv):
    """Measure, print, write; returns the exit code."""
    options, config, _ = finished_run.parse_options(_parser(), argv, quickstart.get_config(), _check)

    def measured():
        return measure_learnability(open_run(options.workdir, config), options)

    return finished_run.measure_and_write(options, config, measured, table)


def table(result):
    """The result as text, at most 80 columns: a block for each row, a line for each set."""
    lines = [
        f"theta_0 fine-tuned for {result['updates']} updates at {result['learning_rate']:g}, "
        f"drawn by {result['priority']}",
        "regret against theta_0's, % (95 % over clips)",
    ]
    for row in result["rows"]:
        lines += [
            "",
            "on {trajectories} trajectories of {policy}, training {share_trained:.0%} ({trainable})".format(**row),
            f"  {'':<28}{'all clips':<24}hardest decile",
        ]
        for name, subsets in row["against_theta_0"].items():
            cells = ["{:+.2f} ({:+.2f}, {:+.2f})".format(*(100 * x for x in of)) for of in subsets.values()]
            lines.append(f"  {'what it was trained on' if name == 'own' else name:<28}{cells[0]:<24}{cells[1]}")
    return "\n".join(lines)


def _check(config, options):
    """UsageError of one line where the run has no such policy."""
    done = read_stages(options.workdir)
    for policy in options.policies:
        if policy not in HUNTERS:
            raise UsageError(f"--policies: {policy!r} has no policy; there are {', '.join(HUNTERS)}")
        rests = "reward" in ARMS[policy].own and ARMS[policy].own["reward"] is None
        if not rests and f"phase2/{policy}" not in done:
            raise UsageError(f"--policies: the arm {policy} is not done in {options.workdir}")
    if "reference" not in done:
        raise UsageError(f"--workdir={options.workdir} has no reference policy yet")
    if not ENVIRONMENTS[config.env.name].seeded:
        raise UsageError(f"env.name={config.env.name}: needs an environment that can be reset from seeds")


def _parser():
    parser = finished_run.parser("learnability", __doc__)
    counts, parts = finished_run.several(finished_run.count), finished_run.several(TRAINABLE)
    parser.add_argument(
        "--policies", type=finished_run.several(str), default=("prowl", "frozen_reference"), metavar="ARM,..."
    )
    parser.add_argument("--trajectories", type=counts, default=(64, 512), metavar="N,...")
    parser.add_argument("--trainable", type=parts, default=TRAINABLE[:1], metavar="PART,...", help=", ".join(TRAINABLE))
    parser.add_argument("--priority", choices=PRIORITIES, default="uniform")
    parser.add_argument("--updates", type=finished_run.count, default=360, metavar="N")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
