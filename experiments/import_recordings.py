"""Recordings into a clip store: VPT's and BASALT's, or anybody's videos or arrays with their actions.

    python -m experiments.import_recordings --source=DIR_OR_INDEX --store=DIR [--size=HxW]

Writes: the clip store, H x W x 3 bytes a frame.
Costs: a second for 2,500 to 4,000 frames on 2 cores.

SOURCE is a folder of .mp4 and .jsonl pairs, or an index file as OpenAI publishes them, with its
recordings already downloaded. Frames of open screens (GUI) are left out, which cuts a recording
into episodes; --gui=cursor keeps them and draws the mouse cursor. A file that cannot be read is
skipped and named. An interrupted import goes on with the same command. The last line says what was read.

With --columns SOURCE is a folder of videos of any size, each with a table of its actions beside it
(.csv, .jsonl, .npz or .parquet of the same name, a row a frame), or of .npz and .h5 files that hold
frames and actions, or a data set of Minari or LeRobot: --columns='steer:-1..1, gas:0..1, jump'. --columns=none reads
frames alone. --frames=NAME chooses among cameras, --frames=LEFT,RIGHT tiles them.
docs/recordings.md says how columns are named.
"""

import argparse
import contextlib
import difflib
import pathlib
import re
import sys
import time


def main(argv):
    """Import recordings, or compare speeds of reading; returns the exit code."""
    # JAX is imported after the command line has been checked: a mistake is answered at once, and
    # reading processes, which import this module, start without it.
    from experiments.run import command_line

    options = _parse(argv, command_line.fail)
    try:
        if options.compare_speed:
            from experiments.benchmarks import reading_speed

            print(reading_speed.compare(options.source, options.size, options.workers))
            return 0
        return _import(options, command_line.fail)
    except (ImportError, ValueError, OSError, RuntimeError) as error:
        from experiments.run.failures import FULL

        if getattr(error, "errno", None) in FULL:
            command_line.fail(f"{options.store}: {error.strerror}; make room, then the same command goes on")
        command_line.fail(error)
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on from here", file=sys.stderr)
        return 130


def _import(options, fail):
    from experiments.run.progress import Progress
    from prowl_jax.data.importer import NothingReadError, import_recordings
    from prowl_jax.data.recordings import Settings

    settings = Settings(options.size, options.gui, options.skip_nulls, options.min_frames)
    began, error, progress, before = time.monotonic(), None, None, 0
    with contextlib.ExitStack() as stack:

        def show(done, total, frames):
            nonlocal progress, before
            if progress is None:
                progress, before = stack.enter_context(Progress("recordings", total)), frames
            progress.update(done, **({"frames": frames} if frames else {}))

        try:
            summary = import_recordings(
                *(options.source, options.store, settings, options.workers, show),
                *(options.columns, options.truncate, options.frames),
            )
        except NothingReadError as nothing:
            summary, error = nothing.summary, nothing
    seconds, frames = time.monotonic() - began, summary.frames - before
    *said, counts = summary.lines()
    took = [f"took {seconds:.1f} s for {frames} frames: {frames / seconds:.0f} frames/s"] if progress else []
    print("\n".join([*said, *took, counts]))
    if error:
        sys.stdout.flush()
        fail(error)
    return 0


def _parse(argv, fail):
    from experiments.run.command_line import Parser

    parser = Parser("python -m experiments.import_recordings", __doc__)
    parser.add_argument("--source", help="a folder of recordings, or an index file", metavar="DIR_OR_INDEX")
    parser.add_argument("--store", help="the clip store to make", metavar="DIR", type=pathlib.Path)
    parser.add_argument("--size", type=_size, default=(128, 128), metavar="HxW", help="of the frames (128x128)")
    parser.add_argument("--gui", choices=("drop", "cursor"), default="drop", help="ticks with an open screen (drop)")
    parser.add_argument(
        "--skip-nulls",
        action="store_true",
        help="leave out ticks without a key or movement: for cloning a policy, not for world models",
    )
    parser.add_argument(
        "--min-frames", type=_positive, default=20, metavar="N", help="leave out shorter episodes (20, a second)"
    )
    parser.add_argument(
        "--columns", default="", metavar="LIST", help="which columns are actions, of recordings that are not VPT's"
    )
    parser.add_argument(
        "--frames",
        type=lambda text: tuple(filter(None, map(str.strip, text.split(",")))),
        default=(),
        metavar="NAMES",
        help="with --columns: a camera or a key of the observations, where a data set has several; more are tiled",
    )
    parser.add_argument("--truncate", action="store_true", help="with --columns: read what table and video both have")
    parser.add_argument("--workers", type=_positive, metavar="N", help="cores to use (all)")
    parser.add_argument(
        "--compare-speed", action="store_true", help="read SOURCE in turns as here and as OpenAI's loader; no store"
    )
    options, rest = parser.parse_known_args(argv)
    for word in rest:
        flags = [flag for flag in parser._option_string_actions if flag.startswith("--")]
        close = difflib.get_close_matches(word.split("=")[0], flags, 1)
        parser.error(f"no flag {word!r}" + (f", did you mean {close[0]}?" if close else ""))
    for name in ("source", "store"):
        if getattr(options, name) is None and not (name == "store" and options.compare_speed):
            parser.error(f"no --{name} given; write --{name}={'DIR_OR_INDEX' if name == 'source' else 'DIR'}")
    if not options.columns and (options.truncate or options.frames or "--columns=" in argv):
        parser.error("no --columns given; write --columns='steer:-1..1, jump', or --columns=none for frames alone")
    return options


def _size(text):
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not HxW, such as 128x128")
    return int(match[1]), int(match[2])


def _positive(text):
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
