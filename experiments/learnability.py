"""What there is to learn in what a policy finds, without the loop around it:

    python -m experiments.learnability --workdir=RUN [--policies=prowl,frozen_reference] [--trajectories=64,512]
                                       [--trainable=phase2,all] [--priority=uniform]
                                       [--updates=360] [--output=FILE]

RUN is a run directory, or a seed's of a study, in which the arms whose last policies are asked for are done
(``frozen_reference`` is pi_ref). For every policy, number of trajectories and trained part (what
phase 2 trains, or all), theta_0 is fine-tuned as in phase 2, on half passive data and half those trajectories, all of them collected at once and
scored once; what it is measured on comes from other seeds. Printed and written to RUN/learnability.json:
regret against theta_0's in per cent, all clips and theta_0's hardest decile, with 95 % intervals (bootstrap
over clips, of these very models), on the trajectories it was trained on, on fresh ones of each policy, in
distribution and on the held-out tasks. Where the first falls and the others do not, it has learned by heart.
"""

import argparse
import json
import pathlib
import sys

from experiments.arms import ARMS
from experiments.sampler_steps import read_config

TRAINABLE = ("phase2", "all")
PRIORITIES = ("uniform", "rank")


def main(argv):
    """Measure, print, write; returns the exit code."""
    # JAX is imported after the command line has been checked: a mistake is answered at once.
    from experiments import command_line

    options = _parse(argv, command_line.fail)
    try:
        config = read_config(options.workdir)
        _check(config, options)
    except command_line.UsageError as error:
        command_line.fail(error)
    from experiments.learnability_measure import measure
    from experiments.run import write_json
    from experiments.study_run import open_run
    from prowl_jax.train.compilation_cache import enable_compilation_cache

    enable_compilation_cache()
    run = open_run(options.workdir, config)
    try:
        result = measure(run, options)
    except KeyboardInterrupt:
        print("interrupted: nothing is written", file=sys.stderr)
        return 130
    print(table(result))
    write_json(options.output, result)
    print(f"written: {options.output}")
    return 0


def table(result):
    """The result as text, at most 80 columns: a block for each row, a line for each set."""
    lines = [
        f"theta_0 fine-tuned for {result['updates']} updates at {result['learning_rate']:g}, drawn by {result['priority']}",
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
    from experiments.command_line import UsageError

    done = json.loads((options.workdir / "stages.json").read_text())
    for policy in options.policies:
        if policy not in ARMS or (policy != "frozen_reference" and ARMS[policy].reward is None):
            learned = ", ".join(name for name, arm in ARMS.items() if arm.reward is not None)
            raise UsageError(f"--policies: {policy!r} has no policy; there are frozen_reference, {learned}")
        if policy != "frozen_reference" and f"phase2/{policy}" not in done:
            raise UsageError(f"--policies: the arm {policy} is not done in {options.workdir}")
    if "reference" not in done:
        raise UsageError(f"--workdir={options.workdir} has no reference policy yet")
    if config.env.name not in ("vizdoom", "voxel"):
        raise UsageError(f"env.name={config.env.name}: needs an environment that can be reset from seeds")


def _parse(argv, fail):
    from experiments.command_line import Parser

    parser = Parser("python -m experiments.learnability", __doc__)
    parser.add_argument("--workdir", required=True, type=pathlib.Path, metavar="RUN", help="a run directory")
    parser.add_argument("--policies", type=_names, default=("prowl", "frozen_reference"), metavar="ARM,...")
    parser.add_argument("--trajectories", type=_counts, default=(64, 512), metavar="N,...")
    parser.add_argument("--trainable", type=_one_of(TRAINABLE), default=TRAINABLE[:1], metavar="PART,...")
    parser.add_argument("--priority", choices=PRIORITIES, default="uniform")
    parser.add_argument("--updates", type=_count, default=360, metavar="N")
    parser.add_argument("--output", type=pathlib.Path, metavar="FILE", help="the json file (RUN/learnability.json)")
    options = parser.parse_args(argv)
    options.output = options.output or options.workdir / "learnability.json"
    if options.workdir.is_dir() and not options.output.parent.is_dir():
        fail(f"--output: there is no directory {options.output.parent}")
    return options


def _count(text):
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _counts(text):
    return tuple(dict.fromkeys(map(_count, text.split(","))))


def _names(text):
    return tuple(dict.fromkeys(text.split(",")))


def _one_of(names):
    def parse(text):
        for name in _names(text):
            if name not in names:
                raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(names)}")
        return _names(text)

    return parse


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
