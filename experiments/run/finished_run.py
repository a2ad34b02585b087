"""What commands on a finished run share: their flags, the run's configuration, and how they end."""

import argparse
import pathlib
import sys

from ml_collections import ConfigDict

from experiments.run import interruption, places
from experiments.run.command_line import Parser, UsageError, fail
from experiments.run.config_file import SHOWN
from experiments.run.groups import value_of

_ALIKE = ({int, float}, {tuple, list})
"""Types that JSON, or a config file, takes for one another."""


def parser(command, description, or_weights=False):
    """A ``Parser`` with ``--workdir`` and ``--output``, RUN/COMMAND.json by default.

    ``or_weights``: or with ``--weights`` in the place of the first, then NAME_COMMAND.json by default.
    """
    made = Parser(f"python -m experiments.{command}", description)
    of = made.add_mutually_exclusive_group(required=True) if or_weights else made
    needed = {} if or_weights else {"required": True}
    of.add_argument("--workdir", type=pathlib.Path, metavar="RUN", help="a run directory", **needed)
    if or_weights:
        of.add_argument("--weights", metavar="NAME|FILE", help="shipped weights, or a .safetensors file")
    made.add_argument("--output", type=pathlib.Path, metavar="FILE", help=f"the json file (RUN/{command}.json)")
    made.set_defaults(command=command)
    return made


def parse_options(parser, argv, example, check, unfinished=False, of_weights=None):
    """(options, the run's configuration, ``check(config, options)``); a mistake is one line and exit code 2.

    ``unfinished`` as in ``read_config``; ``of_weights(name, example)`` gives the configuration where there are
    ``--weights`` and no run.
    """
    options = parser.parse_args(argv)
    weights = getattr(options, "weights", None)
    default = pathlib.Path(f"{pathlib.Path(weights).stem}_{options.command}.json") if weights else None
    options.output = options.output or default or options.workdir / f"{options.command}.json"
    if (weights or options.workdir.is_dir()) and not options.output.parent.is_dir():
        fail(f"--output: there is no directory {options.output.parent}")
    try:
        if weights or options.workdir.is_dir():
            places.folder_to_write(options.output.parent, "--output")
        if options.output.is_dir():
            raise UsageError(f"--output={options.output} is a folder; name a file in it")
        config = of_weights(weights, example) if weights else read_config(options.workdir, example, unfinished)
        return options, config, check(config, options)
    except UsageError as error:
        fail(error)


def measure_and_write(options, config, measure, table):
    """Print the ``table(result)`` of ``measure()`` and write the result and its provenance; returns the exit code."""
    with interruption.importing():
        from experiments.run.files import write_json
        from experiments.run.provenance import provenance, without_folders
        from prowl_jax.train.compilation_cache import enable_compilation_cache
    enable_compilation_cache()
    try:
        result = measure()
    except UsageError as error:  # somebody else is at work in the directory
        fail(error)
    except KeyboardInterrupt:
        print("interrupted: nothing is written", file=sys.stderr)
        return 130
    print(table(result))
    flags = {name: str(value) for name, value in without_folders(vars(options)).items()}
    write_json(options.output, {**result, "provenance": provenance(config, options.workdir) | {"flags": flags}})
    print(f"written: {options.output}")
    return 0


def count(text, least=1):
    """A flag's whole number of at least ``least``."""
    if not text.isdigit() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return int(text)


def several(kind):
    """``"4,8,4"`` -> ``(4, 8)``: a flag of values between commas; ``kind`` is their type, or the names there are."""

    def one(text):
        if callable(kind):
            return kind(text)
        if text not in kind:
            raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(kind)}")
        return text

    return lambda text: tuple(dict.fromkeys(map(one, text.split(","))))


def read_config(workdir, example, unfinished=False):
    """The configuration of a run in which the stage ``world_model`` is done, locked, from its files.

    Args:
      workdir: the run directory.
      example: a configuration that has every key of this version's.
      unfinished: the stage need not be done, as long as it has saved something or the run has shipped weights.

    Raises:
      UsageError: one line: there is no run, it is of another version, or the stage is not done.
    """
    def keys(tree, prefix=""):
        for key, value in tree.items():
            yield from keys(value, f"{prefix}{key}.") if isinstance(value, ConfigDict) else [prefix + key]

    path = workdir / "config.json"
    if not path.exists():
        raise UsageError(f"--workdir={workdir} holds no run: there is no config.json in it")
    config, stages = places.read_config(workdir), places.read_stages(workdir)
    missing = sorted(key for key in set(keys(example)) - set(keys(config)) if not key.startswith(SHOWN))
    if missing:
        raise UsageError(f"{path} has no {missing[0]}: the run is of another version; run it anew")
    for key in sorted(keys(example)):
        theirs, ours = (value_of(tree, key) for tree in (config, example)) if key in set(keys(config)) else (None, None)
        if type(theirs) is not type(ours) and {type(theirs), type(ours)} not in _ALIKE:
            raise UsageError(f"{path}: {key}={theirs!r} is not of the kind of {ours!r}; no run wrote it so")
    begun = config.base or any((workdir / "checkpoints" / "world_model").glob("[0-9]*"))
    if unfinished and not begun:
        raise UsageError(f"--workdir={workdir}: phase 1 (stage world_model) has saved no checkpoint yet")
    if not unfinished and "world_model" not in stages:
        raise UsageError(f"--workdir={workdir}: phase 1 (stage world_model) is not done; let prowl_main finish it")
    return config.lock()
