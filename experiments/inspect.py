"""A clip store, looked at: episodes, actions, and whether the pictures move when the actions say so.

    python -m experiments.inspect --store=DIR [--output=PAGE.html]

Writes: nothing, or the page --output: pictures, actions, lags and lengths in one file.
Costs: seconds; it looks at 4,000 frames of a large store.

The lag table says which share of the pictures' movement each action tells, for the action of the same frame (lag 0)
and for those one or two frames before (1, 2) and after (-1, -2). Where another lag than 0 is clearly the best one the
recordings are not aligned: the last line says so.
"""

import pathlib
import sys

from experiments.run.command_line import Parser, print_result


def main(argv):
    """Print what a store holds; returns the exit code."""
    parser = Parser("python -m experiments.inspect", __doc__)
    parser.add_argument("--store", required=True, metavar="DIR", help="a clip store")
    parser.add_argument("--output", type=pathlib.Path, metavar="FILE", help="the page to write")
    options = parser.parse_args(argv)
    return print_result(look, options.store, options.output)


def look(path, output=None):
    """What ``main`` prints of the store at ``path``, lines of at most 80 columns; ``output`` is the page to write."""
    from prowl_jax.data.overview import overview
    from prowl_jax.data.store import ClipStore

    store = ClipStore.open(path)
    seen = overview(store)
    if output is not None:
        from experiments.report.store_page import write_page

        write_page(output, store, seen)
    return "\n".join([*_text(seen), *([f"page: {output}"] if output else [])])


def _text(seen):
    import numpy as np

    low, middle, high = (int(n) for n in (seen.lengths.min(), np.median(seen.lengths), seen.lengths.max()))
    height, width = seen.size
    lines = [
        f"{len(seen.lengths)} episodes of {seen.recordings} recordings, {seen.lengths.sum()} frames of "
        f"{width}x{height} pixels",
        f"frames of an episode: shortest {low}, median {middle}, longest {high}",
        "",
        "share of frames with each value of an action, in %:",
    ]
    for shares in seen.shares:
        lines += _histogram(*shares)
    return [*lines, "", *_lags(seen)]


def _histogram(name, size, used):
    lines = [f"  {name[:40]}: {len(used)} of {size} values occur"]
    lines += [f"    {label[:24]:24} {share:6.1f} {'#' * round(share * 0.4)}" for label, share in used[:16]]
    return lines + ([f"    and {len(used) - 16} more"] if len(used) > 16 else [])


def _lags(seen):
    from prowl_jax.data.movement import LAGS, best_lag
    from prowl_jax.data.overview import percent

    lines = ["movement of the picture told by an action, in %, at lag:", " " * 26 + "".join(f"{n:+6d}" for n in LAGS)]
    lines += [f"  {name[:24]:24}" + "".join(f"{percent(row[n]):>6}" for n in LAGS) for name, row in seen.lags]
    if all(best_lag(row) is None for _, row in seen.lags):
        return [*lines, "too little moves, or no action changes: nothing is told of lags"]
    return [*lines, *(seen.warnings or ["no action fits clearly better at another lag"])]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
