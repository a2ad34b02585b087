"""A run broken on purpose, again and again: kills, damaged files, hanging environments, wrong configurations.

    python -m experiments.torture [--minutes=N] [--seed=S] [--attacks A ...]

Writes: nothing that stays, but for what repeats a failure.
Costs: --minutes, or longer where one turn of every attack takes longer.

Eight attacks take turns until the time is over (each at least once; later ones only where they still fit):

  kills     a whole run, as small as it goes, ends by SIGKILL, SIGTERM or Ctrl-C 50 times in a row, at random moments
            and while it saves, and is called again; it must leave the numbers of an unbroken run, bit for bit
  shipped   the same for the quick start that begins with shipped weights
  training  the same for one training of a second, many times, killed in the middle of saving among others
  files     a byte is changed, or a file cut short or removed, in checkpoints and clip stores: what is read is
            what was written, or the damage is named
  inputs    300 recordings that lie, weights of odd types, indexes, directories that cannot be, files of a run that hold
            something else, fillings of the buffer: read as they are, or told in one line
  workers   environments are killed, hang, raise, or give nonsense: the others play on as if alone
  configs   random values, right and wrong: one line each and exit code 2, or accepted; never a traceback
  cycles    500 cycles of phase 2: nothing is compiled after the first ones, and memory stays what it is

The last line says how often anything was lost, ``lost: N``; the exit code is 1 where N is not 0. Ctrl-C ends it
with the counts so far and the exit code 130. A failure prints how to repeat it: an attack is a function of its
seed (but for when a signal arrives).
"""

import contextlib
import signal
import sys
import time

from experiments.run.command_line import Parser


def main(argv):
    """Attack until the time is over; returns the exit code."""
    options = _options(argv)
    from experiments.torture.attacks import ATTACKS

    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # also where nohup ignores it: what is started inherits that
    counts, lost = dict.fromkeys(options.attacks, 0), 0
    code = 130
    with contextlib.suppress(KeyboardInterrupt):
        for name, seed, place in turns(options.attacks, options.seed, 60 * options.minutes):
            print(f"{place}  {name}, --seed={seed}", flush=True)
            count, failures = ATTACKS[name](seed)
            counts[name] += count
            lost += len(failures)
            for failure in failures:
                print(f"LOST {name}, --seed={seed}: {failure}", flush=True)
            print(f"{name}: {counts[name]}", flush=True)
        code = 1 if lost else 0
    print("  ".join(f"{name} {count}" for name, count in counts.items()))
    print(f"lost: {lost}")
    return code


def turns(names, seed, seconds, clock=time.monotonic):
    """Yields (attack, its seed, how long it has been and is left): each once, then those that still fit, in turn.

    How long an attack takes is how long its last turn took.
    """
    began, taken, took = clock(), dict.fromkeys(names, 0), dict.fromkeys(names, 0.0)
    while True:
        passed = clock() - began
        fitting = [n for n in names if not taken[n] or took[n] < seconds - passed]
        if not fitting:
            return
        name = min(fitting, key=lambda n: taken[n])
        yield name, seed, f"{passed / 60:.1f} min, {max(seconds - passed, 0) / 60:.1f} left"
        taken[name], took[name] = taken[name] + 1, clock() - began - passed
        seed += 1


def _options(argv):
    parser = Parser("python -m experiments.torture", __doc__)
    names = ("kills", "shipped", "training", "files", "inputs", "workers", "configs", "cycles")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--attacks", nargs="+", default=names, choices=names)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
