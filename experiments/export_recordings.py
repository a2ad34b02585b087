"""A clip store in a format of others: videos with .jsonl in VPT's form, or a data set of Minari.

    python -m experiments.export_recordings --store=DIR --output=DIR --format=vpt|minari

Writes: the folder --output, whole or not at all.
Costs: a second for some hundred frames; vpt about what the videos take, minari the store's bytes, compressed.

``vpt``: of each episode an .mp4 of 640x360 pixels at 20 frames a second and a .jsonl of the same name; only of
Minecraft's actions. ``minari``: the folder is a data set, to be put where Minari looks for them
(MINARI_DATASETS_PATH); the last line says by which --columns experiments.import_recordings reads it again.
"""

import pathlib
import sys

from experiments.run import command_line


def main(argv):
    """Export a store; returns the exit code."""
    parser = command_line.Parser("python -m experiments.export_recordings", __doc__)
    parser.add_argument("--store", required=True, metavar="DIR", help="a clip store", type=pathlib.Path)
    parser.add_argument("--output", required=True, metavar="DIR", help="the folder to make", type=pathlib.Path)
    parser.add_argument("--format", required=True, choices=("vpt", "minari"), help="whose")
    options = parser.parse_args(argv)
    try:
        return command_line.print_result(export, options.store, options.output, options.format)
    except KeyboardInterrupt:
        print("interrupted: nothing is written", file=sys.stderr)
        return 130


def export(store, output, form):
    """Write ``output``; returns what to print of it."""
    from experiments.run.progress import Progress
    from prowl_jax.data import exporter
    from prowl_jax.data.store import ClipStore

    store = ClipStore.open(store)
    with Progress("episodes", len(store.lengths)) as progress:
        columns = {"vpt": exporter.to_vpt, "minari": exporter.to_minari}[form](store, output, progress.update)
    said = f"written: {output}, {len(store.lengths)} episodes, {len(store)} frames"
    return said if columns is None else f"{said}\n--columns='{columns}'"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
