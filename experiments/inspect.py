"""A clip store, looked at: episodes, actions, and whether the pictures move when the actions say so.

    python -m experiments.inspect --store=DIR

Writes: nothing.
Costs: seconds; it looks at 4,000 frames of a large store.

The lag table says which share of the pictures' movement each action tells, for the action of the same frame (lag 0)
and for those one or two frames before (1, 2) and after (-1, -2). Where another lag than 0 is clearly the best one the
recordings are not aligned: the last line says so.
"""

import sys

from experiments.run.command_line import Parser, print_result

FRAMES = 4000


def main(argv):
    """Print what a store holds; returns the exit code."""
    parser = Parser("python -m experiments.inspect", __doc__)
    parser.add_argument("--store", required=True, metavar="DIR", help="a clip store")
    return print_result(text, parser.parse_args(argv).store)


def text(path):
    """What ``main`` prints of the store at ``path``, in lines of at most 80 columns."""
    from prowl_jax.data.store import ClipStore

    store = ClipStore.open(path)
    low, middle, high = (int(n) for n in _quartiles(store.lengths))
    height, width, _ = store.frame_shape
    lines = [
        f"{len(store.lengths)} episodes of {len({o.recording for o in store.origins})} recordings, "
        f"{len(store)} frames of {width}x{height} pixels",
        f"frames of an episode: shortest {low}, median {middle}, longest {high}",
        "",
        "share of frames with each value of an action, in %:",
    ]
    for i, factor in enumerate(store.spec.factors):
        lines += _histogram(factor, store.actions[:, i])
    return "\n".join([*lines, "", *_lags(store)])


def _quartiles(lengths):
    import numpy as np

    return lengths.min(), np.median(lengths), lengths.max()


def _histogram(factor, values):
    import numpy as np

    shares = 100 * np.bincount(values, minlength=factor.size) / len(values)
    used = [(factor.labels[v] or "nothing", share) for v, share in enumerate(shares) if share > 0]
    lines = [f"  {factor.name[:40]}: {len(used)} of {factor.size} values occur"]
    lines += [f"    {label[:24]:24} {share:6.1f} {'#' * round(share * 0.4)}" for label, share in used[:16]]
    return lines + ([f"    and {len(used) - 16} more"] if len(used) > 16 else [])


def _lags(store):
    from prowl_jax.data.movement import LAGS, best_lag, lag_table

    episodes, seen = [], 0
    for i in range(len(store.lengths)):
        clip = store.episode(i)
        episodes.append((clip.frames[: FRAMES - seen], clip.actions[: FRAMES - seen]))
        seen += len(episodes[-1][0])
        if seen >= FRAMES:
            break
    table = list(zip(store.spec.names, lag_table(episodes), strict=False))
    lines = ["movement of the picture told by an action, in %, at lag:", " " * 26 + "".join(f"{n:+6d}" for n in LAGS)]
    lines += [f"  {name[:24]:24}" + "".join(f"{100 * row[n]:6.0f}" for n in LAGS) for name, row in table]
    if all(best_lag(row) is None for _, row in table):
        return [*lines, "too little moves, or no action changes: nothing is told of lags"]
    off = [(name, best_lag(row)) for name, row in table if best_lag(row)]
    for name, lag in off:
        when = f"{abs(lag)} frame{'s' * (abs(lag) > 1)} {'after' if lag > 0 else 'before'}"
        lines.append(f"warning: the picture moves {when} {name[:24]}; shift the actions")
    return lines if off else [*lines, "no action fits clearly better at another lag"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
