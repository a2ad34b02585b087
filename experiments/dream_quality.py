"""How good a world model's dreams are, frame by frame, beside what they must beat and what they cannot.

    python -m experiments.dream_quality --workdir=RUN [--quick] [--clips=256] [--long-clips=64] [--dreams=8]
                                        [--dream-clips=64] [--factor-clips=64] [--output=FILE.json]
    python -m experiments.dream_quality --weights=NAME|FILE ...

Writes: RUN/dream_quality.json and its contact sheet RUN/dream_quality.webp, or --output and the sheet beside it.
Costs: dreaming about 40,000 frames, 5,000 with --quick, and compiling it for each of up to four lengths.

RUN is a run directory in which phase 1 has saved a checkpoint, whether or not it goes on; it is only read, but for
these files and the opening of its report, where there is one. --weights takes a shipped model, or a file of weights,
without a run: episodes that it has never seen are recorded as its card says, and NAME_dream_quality.json is written
where the command is called.

Measured on held-out episodes with fixed noise, at predicted frames 1, 2, 4, 8, 16, 20, 32 and 100, with 95 %
intervals (bootstrap over clips); docs/world_model.md says what each figure is. --quick takes 64 clips to frame 20 and
leaves out frame 100 and single action factors. A number of clips of 0 leaves its part out.
"""

import dataclasses
import sys

from experiments.configs import quickstart
from experiments.run import finished_run
from experiments.stages.run_or_weights import asked_run, config_of_weights

EPISODES = 48
"""Recorded for --weights: as many as the base models' data hold out."""


def main(argv):
    """Measure, print, write; returns the exit code."""
    options, config, _ = finished_run.parse_options(
        _parser(), argv, quickstart.get_config(), lambda config, options: None, True, config_of_weights
    )
    sheets = []

    # JAX is imported after the command line has been checked: a mistake is answered at once.
    def measured():
        from experiments.evaluation.dream_quality import QUICK, Sizes, limited, measure_run

        sizes = limited(QUICK, config) if options.quick else Sizes()
        asked = {name: getattr(options, name) for name in _SIZES if getattr(options, name) is not None}
        sizes = dataclasses.replace(sizes, **asked)
        with asked_run(options, config, EPISODES) as run:
            figures, sheet = measure_run(run, sizes)
        sheets.append(sheet)
        return figures

    def text(result):
        from experiments.evaluation.quality_table import table

        return table(result)

    code = finished_run.measure_and_write(options, config, measured, text)
    if sheets:
        from experiments.evaluation.contact_sheet import write_sheet
        from experiments.report.quality import renew_report

        print(f"written: {write_sheet(options.output, sheets[0])}")
        if options.workdir and options.output.parent == options.workdir:
            renew_report(options.workdir)
    return code


_SIZES = {
    "clips": "of the main set",
    "long_clips": "dreamt to frame 100",
    "dreams": "of one clip, for the energy score",
    "dream_clips": "dreamt so often",
    "factor_clips": "for the exchange of one action factor at a time",
}


def _parser():
    parser = finished_run.parser("dream_quality", __doc__, or_weights=True)
    parser.add_argument("--quick", action="store_true", help="64 clips, or what the evaluation takes, to frame 20")
    for name, words in _SIZES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=_size(name), metavar="N", help=words)
    return parser


def _size(name):
    least = {"clips": 1, "dreams": 2}.get(name, 0)

    def size(text):
        return finished_run.count(text, least)

    return size


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
