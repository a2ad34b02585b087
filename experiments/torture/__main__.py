"""Break a run on purpose, again and again:  python -m experiments.torture [--minutes=N] [--seed=S] [--attacks A ...]

Six attacks take turns until the time is over (each at least once):

  kills     a whole tiny run ends by SIGKILL, SIGTERM or Ctrl-C at random moments and is called again until
            it is done; it must leave the numbers of an unbroken run, bit for bit
  training  the same for one training of a second, many times, killed in the middle of saving among others
  files     a byte is changed, or a file cut short or removed, in checkpoints and clip stores: what is read is
            what was written, or the damage is named
  workers   environments are killed, hang, raise, or give nonsense: the others play on as if alone
  configs   random values, right and wrong: one line each and exit code 2, or accepted; never a traceback
  cycles    500 cycles of a tiny run: nothing is compiled after the first ones, and memory stays what it is

The last line says how often anything was lost, ``lost: N``; the exit code is 1 where N is not 0. A failure
prints how to repeat it: an attack is a function of its seed (but for when a signal arrives).
"""

import sys
import time

from experiments.command_line import Parser


def main(argv):
    """Attack until the time is over; returns the exit code."""
    options = _options(argv)
    from experiments.torture.attacks import ATTACKS

    counts, turns, lost = dict.fromkeys(options.attacks, 0), dict.fromkeys(options.attacks, 0), 0
    end, seed = time.monotonic() + 60 * options.minutes, options.seed
    while not all(turns.values()) or time.monotonic() < end:
        name = min(options.attacks, key=lambda name: turns[name])
        turns[name] += 1
        count, failures = ATTACKS[name](seed)
        counts[name] += count
        lost += len(failures)
        for failure in failures:
            print(f"LOST {name}, --seed={seed}: {failure}", flush=True)
        print(f"{name}: {counts[name]}", flush=True)
        seed += 1
    print("  ".join(f"{name} {count}" for name, count in counts.items()))
    print(f"lost: {lost}")
    return 1 if lost else 0


def _options(argv):
    parser = Parser("python -m experiments.torture", __doc__)
    names = ("kills", "training", "files", "workers", "configs", "cycles")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--attacks", nargs="+", default=names, choices=names)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
