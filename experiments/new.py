"""A configuration for your own environment or recordings, with sizes for this machine.

    python -m experiments.new NAME [--make=ID_OR_FUNCTION] [--source=DIR_OR_INDEX] [--minutes=N]

Writes: NAME.py, or --output; nothing that is there is overwritten.
Costs: half a minute; it plays the environment to see its frames and how long episodes last.

Give --make for an environment that lives: an ID of Gymnasium, module:function or file.py:function. Give --source for
recordings: there is no phase 2 then, as there is nothing to act in. It is a folder or an index of people's in Minecraft
(.mp4 and .jsonl), or a clip store, which python -m experiments.import_recordings makes of all others. Without either,
it asks. It prints the actions that were found, an estimate, and the command that runs it all. docs/your_world.md goes
on.
"""

import argparse
import dataclasses
import pathlib
import sys


def main(argv):
    """Look, write, tell; returns the exit code."""
    from experiments.run.command_line import fail
    from experiments.run.config_file import UsageError

    options = _parse(argv, fail)
    try:
        from experiments.planning.own_world import Machine

        _write(options, Machine.here())
    except (UsageError, ValueError, OSError) as error:
        fail(error)
    return 0


def _write(options, machine):
    from experiments.planning import own_world
    from experiments.run.config_file import UsageError

    if not machine.start + 1 < options.minutes < float("inf"):
        raise UsageError(
            f"--minutes={options.minutes:g}: starting and compiling alone take about {machine.start:g}; give more"
        )
    file = options.output or pathlib.Path(f"{options.name}.py")
    if file.exists():
        raise UsageError(f"{file} is there already; give another NAME, or --output=FILE")
    if options.make:
        seen, env = _environment(options)
        about = [f"PROWL in {options.make}, shown by {options.demonstrator or 'random hands'}."]
        print(f"actions: {seen.actions}")
        h, w = seen.size
        print(f"frames: {h}x{w}, {seen.rate:.0f} steps/s; episodes last about {seen.length} steps")
        for line in seen.hints:
            print(line)
    else:
        seen, env = _recordings(options.source)
        about = [f"phase 1 on the recordings in {options.source}."]
        print("no phase 2: recordings alone have nothing to act in")
    values = own_world.changes(options.name, env, seen, machine, options.minutes)
    if not options.make:
        values |= {"env.task": "recordings", "env.held_out_tasks": (), **env}
    if options.make and seen.length < 40:
        print(
            f"episodes are short: what is dreamt in one go is {values['evaluation.long_horizon']} steps; a policy that "
            "lasts longer (--demonstrator=module:function) shows more"
        )
    file.write_text(own_world.text(options.name, file, about, values), encoding="utf-8")
    cores = f"{machine.cores} core{'s' * (machine.cores > 1)}"
    there = f"{cores}, {machine.memory / 1e9:.0f} GB free, {machine.accelerator or 'no GPU'}"
    minutes = sum(values["estimate"])
    takes = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"
    print(f"wrote {file} for {there}: about {takes}, a rough estimate")
    print(f"run it: python -m experiments.prowl_main --config={file}")
    print(f"in minutes, to see whether all works: python -m experiments.prowl_main --config={file}:tiny")


def _environment(options):
    """(``Seen``, what the configuration says of it)."""
    from experiments.planning import own_world
    from prowl_jax.envs.gymnasium import Gymnasium
    from prowl_jax.settings import check

    own = {
        "make_with": options.make, "arguments": options.arguments, "frames": options.frames,
        "frame_skip": options.frame_skip, "sticky": options.sticky, "shown_by": options.demonstrator,
        "limits": options.limits, "camera": options.camera, "vector": options.vector,
    }  # fmt: skip
    environment = Gymnasium(**own)
    check(environment, "env.gymnasium")
    keys = {"make_with": "make", "shown_by": "demonstrator"}
    plain = {field.name: field.default for field in dataclasses.fields(Gymnasium)}
    given = {f"env.gymnasium.{keys.get(k, k)}": v for k, v in own.items() if v != plain[k] or k == "make_with"}
    return own_world.look(environment), {"env.name": "gymnasium", **given}


def _recordings(source):
    """(``Seen``, what the configuration says of it) of a clip store, or of recordings in VPT's format."""
    from experiments.planning import own_world
    from experiments.stages.build import recordings
    from prowl_jax.envs.clips import Clips

    if (pathlib.Path(source) / "index.json").is_file():
        seen, episodes = own_world.look_at_store(Clips(path=source).open())
        print(f"actions: {seen.actions}")
        h, w = seen.size
        print(f"frames: {h}x{w}; {episodes} episodes of about {seen.length} steps")
        return seen, {"env.name": "clips", "env.clips.path": source, "demonstrations.episodes": max(2, episodes)}
    recordings.check_source("--source", source)
    seen = own_world.Seen((360, 640), 0.0, 256, "")
    return seen, {"env.name": "recordings", "demonstrations.source": source}


def _parse(argv, fail):
    from experiments.run.command_line import Parser

    parser = Parser("python -m experiments.new", __doc__)
    parser.add_argument("name", metavar="NAME", help="of the run and the file")
    parser.add_argument("--make", default="", metavar="ID_OR_FUNCTION", help="an environment of Gymnasium's interface")
    parser.add_argument("--source", default="", metavar="DIR_OR_INDEX", help="recordings: Minecraft's, or a clip store")
    parser.add_argument("--arguments", default="", metavar="JSON", help="of what makes the environment")
    parser.add_argument("--frames", default="", metavar="KEY", help="render, or a key of the observation")
    parser.add_argument("--frame-skip", type=int, default=1, metavar="N", help="steps that an action is held (1)")
    parser.add_argument("--sticky", action="store_true", help="choices get a value more: as before")
    parser.add_argument("--limits", type=_numbers, default=(), metavar="LOW,HIGH", help="of a Box without limits")
    parser.add_argument("--camera", type=_names, default=(), metavar="NAME,NAME", help="dimensions that turn a camera")
    parser.add_argument("--demonstrator", default="", metavar="FUNCTION", help="module:function that makes a policy")
    parser.add_argument("--vector", action="store_true", help="--make gives many at once, as envpool:ID does")
    parser.add_argument("--minutes", type=float, default=60.0, metavar="N", help="that the run may take (60)")
    parser.add_argument("--output", type=pathlib.Path, metavar="FILE", help="where to write (NAME.py)")
    options = parser.parse_args(argv)
    if not options.name.isidentifier():
        fail(f"NAME={options.name} is no name of a Python module: letters, digits and _")
    if not options.make and not options.source and sys.stdin.isatty():
        options.make = input("Environment (an ID of Gymnasium, module:function; empty: recordings): ").strip()
        options.source = "" if options.make else input("Recordings (a clip store, or Minecraft's): ").strip()
        minutes = input("Minutes that a run may take (60): ").strip() or "60"
        try:
            options.minutes = float(minutes)
        except ValueError:
            fail(f"{minutes} is no number of minutes")
    if bool(options.make) == bool(options.source):
        fail("give one of --make=ID_OR_FUNCTION and --source=DIR_OR_INDEX")
    return options


def _numbers(text):
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not LOW,HIGH, such as -1,1") from None


def _names(text):
    return tuple(text.split(","))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
