"""How much is there to mend? theta_0 fine-tuned on what its demonstrations leave out, measured on fresh clips.

    python -m experiments.gate --workdir=RUN [--on=gaps,wide] [--trainable=phase2,all] [--minutes=10] [--clips=64]
                               [--dreams=2] [--episodes=64] [--frames=160] [--learning-rate=5e-4] [--updates=N]
                               [--held-out=TASK,...] [--output=FILE.json]
    python -m experiments.gate --weights=NAME|FILE ...

Writes: RUN/gate.json, or --output.
Costs: --minutes of fine-tuning, divided among --on and --trainable; recording and measuring about as long again.

RUN is a run directory in which phase 1 has saved a checkpoint, whether or not it goes on; it is only read. --weights
takes a shipped model, or a file of weights, without a run. For every kind of data and trained part theta_0 is
fine-tuned on half demonstrations and half that data, in windows as phase 2 has them: gaps, which is what the planted
gaps leave out, done often with a calm camera; wide, which is keys held at random; or any task of the environment.

Printed and written: regret before and after, with 95 % intervals (bootstrap over clips, of these very models), on
fresh clips of each kind, in distribution and on held-out tasks; on theta_0's hardest decile, on clips in which a thing
or an event happened, and by predicted frame; and theta_0's squared error taken apart into what was mended, the spread
of the model's own dreams, the autoencoder's floor, and the rest. The last lines say whether enough can be mended for a
study to be worth its time: 20 % of the regret on gaps, 5 % on wide.
"""

import sys

from experiments.configs import quickstart
from experiments.run import finished_run
from experiments.stages.run_or_weights import config_of_weights
from experiments.study.settings import TRAINABLE

DEMONSTRATIONS = 48
"""Recorded for --weights; a quarter of them are held out."""


def main(argv):
    """Measure, print, write; returns the exit code."""
    options, config, _ = finished_run.parse_options(
        _parser(), argv, quickstart.get_config(), _check, unfinished=True, of_weights=config_of_weights
    )

    def measured():
        from experiments.stages.card_run import recorded
        from experiments.study.gate import measure_gate
        from experiments.study.grid import open_run

        if options.weights:
            with recorded(config, DEMONSTRATIONS, options.frames, held_out=0.25) as run:
                return measure_gate(run, options)
        return measure_gate(open_run(options.workdir, config, owned=False), options)

    def text(result):
        from experiments.study.gate import table

        return table(result)

    return finished_run.measure_and_write(options, config, measured, text)


def _check(config, options):
    """UsageError of one line where the environment has no such recordings."""
    from experiments.run.command_line import UsageError
    from prowl_jax.envs.registry import ENVIRONMENTS

    there = ENVIRONMENTS[config.env.name].tasks or {}
    for flag, asked in (("--on", options.on), ("--held-out", options.held_out or ())):
        for task in asked:
            if {"gaps": "control"}.get(task, task) not in there:
                raise UsageError(f"{flag}: {task!r} cannot be recorded; there are gaps, {', '.join(there)}")


def _parser():
    parser = finished_run.parser("gate", __doc__, or_weights=True)
    count, names = finished_run.count, finished_run.several(str)
    parser.add_argument("--on", type=names, default=("gaps", "wide"), metavar="KIND,...")
    parts = finished_run.several(TRAINABLE)
    parser.add_argument("--trainable", type=parts, default=TRAINABLE[:1], metavar="PART,...", help=", ".join(TRAINABLE))
    parser.add_argument("--minutes", type=count, default=10, metavar="N", help="of fine-tuning, in all")
    parser.add_argument("--clips", type=count, default=64, metavar="N", help="of each set")
    parser.add_argument("--dreams", type=lambda text: count(text, 2), default=2, metavar="K", help="of each clip")
    parser.add_argument("--episodes", type=count, default=64, metavar="N", help="of each kind, to learn from")
    parser.add_argument("--frames", type=lambda text: count(text, 16), default=160, metavar="T", help="of an episode")
    parser.add_argument("--learning-rate", type=float, default=5e-4, metavar="RATE")
    parser.add_argument("--updates", type=lambda text: count(text, 0), default=0, metavar="N", help="not --minutes")
    parser.add_argument("--held-out", type=names, default=None, metavar="TASK,...", help="pooled; the first four")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
