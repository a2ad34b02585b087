"""The command line of every experiment: one clear line for each mistake, never a traceback.

``--config=FILE[:ARG]`` names a Python file whose ``get_config([arg])`` returns a ``ConfigDict``,
``--config.a.b=VALUE`` changes one of its values, ``--workdir=DIR`` says where the run goes. Under
it lie absl and ``ml_collections.config_flags``, whose own answers to a mistake are a traceback, a
None or silence; here each becomes a line that names the thing and its cure, and exit code 2.
"""

import argparse
import contextlib
import copy
import difflib
import pathlib
import re
import sys

from absl import flags
from ml_collections import ConfigDict, config_flags

from experiments.run import config_file
from experiments.run.config_file import UsageError, UsageErrors, raise_all
from experiments.run.hints import nearest_key
from experiments.run.places import check_folder, said

_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "a tuple such as '(1, 2)'",
}


_PLACES = ("DIR", "FILE", "RUN", "DIR_OR_INDEX")


def fail(message):
    """Print ``error: message`` (a text, or an exception) as one line to stderr; leave with exit code 2 (SystemExit)."""
    _print_error(said(message) if isinstance(message, OSError) else message)
    raise SystemExit(2)


class Parser(argparse.ArgumentParser):
    """argparse for commands without a configuration: a mistake is one line, the help is laid out as written."""

    def __init__(self, prog, description, **options):
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(prog, description=description, formatter_class=layout, allow_abbrev=False, **options)

    def parse_known_args(self, args=None, namespace=None):
        """As argparse; a place that is an empty text, as a shell's variable without a value gives, is a mistake."""
        args = list(sys.argv[1:] if args is None else args)
        for action in self._actions:
            for flag in action.option_strings if action.metavar in _PLACES else ():
                if f"{flag}=" in args or any(pair == (flag, "") for pair in zip(args, args[1:], strict=False)):
                    self.error(f"{flag} is empty; write {flag}={action.metavar}")
        return super().parse_known_args(args, namespace)

    def error(self, message):
        """Leave with ``message`` as one line and exit code 2."""
        fail(f"{message}; --help lists the flags")


def print_result(make, *arguments):
    """Print the text that ``make(*arguments)`` returns; returns the exit code. A mistake is one line and code 2."""
    try:
        print(make(*arguments))
    except (UsageError, ValueError, ImportError, OSError) as error:
        fail(said(error))  # other libraries' messages go on
    return 0


def validate(config, rules):
    """Hold ``config`` against ``rules``; print every broken one, a line each, and leave with code 2.

    Args:
      config: the ConfigDict that ``parse`` returned.
      rules: pairs ``(condition, message)``. ``condition(config)`` is true where all is well;
        ``message`` may quote values, ``"'pat.capacity' is {config.pat.capacity}, not at least 1"``, or be a
        function of the configuration.
    """
    messages = [message for condition, message in rules if not condition(config)]
    broken = [message(config) if callable(message) else message.format(config=config) for message in messages]
    for message in broken:
        _print_error(message)
    if broken:
        raise SystemExit(2)


def checked(work, *arguments):
    """What ``work(*arguments)`` returns; a ``UsageError`` is one line and exit code 2 (SystemExit)."""
    try:
        return work(*arguments)
    except UsageError as error:
        fail(error)


def take_names(argv, flag, names):
    """Take ``--flag=A,B`` out of ``argv``: (the names given, each once, the other arguments).

    Raises:
      SystemExit: code 2 after one line, where something else than some of ``names`` is given.
    """
    found = [argument for argument in argv if re.match(rf"--?{flag}(=|$)", argument)]
    given = [name for argument in found for name in argument.partition("=")[2].split(",")]
    for name in given:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1, 0.5)
            hint = f"; did you mean {close[0]}?" if close else ""
            fail(f"--{flag} takes {', '.join(names)} with commas between them, not {name!r}{hint}")
    return tuple(dict.fromkeys(given)), [argument for argument in argv if argument not in found]


def parse(argv, *, program, meanings=None, more_flags=()):
    """Read a command line, as often as wanted in one process.

    Args:
      argv: the arguments after the program's name, ``sys.argv[1:]``.
      program: how the user started it, for ``--help``, such as ``"python -m experiments.prowl_main"``.
      meanings: key -> what it means, for ``--help``.
      more_flags: lines of ``--help`` about flags that the program takes out of ``argv`` itself.

    Returns:
      ``(config, workdir)``: a locked ``ConfigDict`` with the overrides in it, and a ``pathlib.Path``
      or None where no ``--workdir`` was given. Nothing has been written.

    Raises:
      SystemExit: code 0 after ``--help``, code 2 after one line on stderr for each mistake.
    """
    try:
        return _parse(list(argv), program, meanings or {}, more_flags)
    except UsageErrors as error:
        for line in error.lines:
            _print_error(line)
        raise SystemExit(2) from None
    except (UsageError, flags.Error) as error:
        missing = re.match(r"Missing value for flag (--\S+)", str(error))
        fail(f"{missing[1]} has no value; write {missing[1]}=VALUE" if missing else error)


def _parse(argv, program, meanings, more_flags):
    known, rest = _known_flags(argv, program)
    if not known.config:
        if known.help:
            print(_help(program, meanings, more_flags))
            raise SystemExit(0)
        raise UsageError(_no_config(rest))
    config = config_file.load_config(known.config)
    if known.help:
        print(_help(program, meanings, more_flags, known.config, config))
        raise SystemExit(0)
    return _override(config, rest), _workdir(known.workdir)


def _known_flags(argv, program):
    """Take --config, --workdir and --help out of ``argv``; the rest are overrides, or mistakes."""
    known = flags.FlagValues()  # private, so that parsing twice in one process does no harm
    flags.DEFINE_string("config", None, "the config file", flag_values=known)
    flags.DEFINE_string("workdir", None, "the run directory", flag_values=known)
    flags.DEFINE_bool("help", False, "show this", short_name="h", flag_values=known)
    known.set_gnu_getopt(True)  # flags may stand after a stray word, which is complained of later
    for argument in argv:
        if re.match(r"--?(flagfile|undefok)(=|$)", argument):  # absl reads these two by itself
            raise UsageError(_unknown_flag(argument.lstrip("-").split("=")[0], ()))
    for name, value in (("config", "FILE"), ("workdir", "DIR")):
        if sum(bool(re.match(rf"--?{name}(=|$)", argument)) for argument in argv) > 1:
            raise UsageError(f"--{name} is given more than once; give it once")
        if any(argument in (f"--{name}=", f"-{name}=") for argument in argv):
            raise UsageError(f"--{name} is empty; write --{name}={value}")
    rest = known([program, *argv], known_only=True)[1:]
    return known, rest


def _override(config, rest):
    """Apply ``--config.a.b=value`` arguments to ``config``; anything else in ``rest`` is a mistake."""
    keys, mistakes = _keys(config), []
    for argument in rest:
        match = re.match(r"--?(no)?config\.([^=]*)", argument)
        if match:
            try:
                _check_key(config, match[2], keys, negated=bool(match[1]))
                if match[1] and "=" in argument:
                    raise UsageError(f"{argument.partition('=')[0]} takes no value; write --config.{match[2]}=false")
            except UsageError as mistake:
                mistakes.append(mistake)
    raise_all(mistakes)
    if all("=" in argument or argument.startswith("--noconfig.") for argument in rest):
        for argument in rest:  # each by itself first, so that all mistakes are told
            try:
                _apply(copy.deepcopy(config), [argument], keys)
            except UsageError as mistake:
                mistakes.append(mistake)
        raise_all(mistakes)
    return _apply(config, rest, keys)


def _apply(config, rest, keys):
    """``config`` with the overrides in it; UsageError where a value does not fit its key."""
    before = config.copy_and_resolve_references()
    values = flags.FlagValues()
    values.set_gnu_getopt(True)
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=rest)
        words = values(["", *rest])[1:]
    except flags.UnrecognizedFlagError as error:
        raise UsageError(_unknown_flag(error.flagname, keys)) from error
    except flags.IllegalFlagValueError as error:
        raise UsageError(_wrong_type(str(error), config)) from error
    if words:
        raise UsageError(_stray(words[0], keys))
    for key in values["config"].override_values:
        _check_elements(key, _get(before, key), _get(config, key))
    return config


def _keys(config, prefix=""):
    """Every key of a ConfigDict that holds a value, dotted: ``["seed", "world_model.steps", ...]``."""
    keys = []
    for name in config:
        group = issubclass(config.get_type(name), ConfigDict)
        keys += _keys(config[name], f"{prefix}{name}.") if group else [prefix + name]
    return keys


def _get(config, key):
    for part in key.split("."):
        config = config[part]
    return config


def _kind(config, key):
    """The type that ``key`` holds, also where its value is a typed placeholder."""
    *groups, name = key.split(".")
    return (_get(config, ".".join(groups)) if groups else config).get_type(name)


def _check_key(config, key, keys, negated):
    """Raise UsageError unless ``key`` names one value of ``config`` that a command line can set."""
    if key not in keys:
        inside = [k for k in keys if k.startswith(key + ".")]
        if inside:
            raise UsageError(
                f"config key {key!r} is a group; set one of its values, such as --config.{inside[0]}=VALUE"
            )
        raise UsageError(f"no config key {key!r}{_did_you_mean(nearest_key(key, keys))}")
    kind = _kind(config, key)
    if kind not in _KINDS:
        raise UsageError(
            f"config key {key!r} holds {kind.__name__}, which a command line cannot set; edit the config file"
        )
    if negated and kind is not bool:
        raise UsageError(f"config key {key!r} takes {_KINDS[kind]}; write --config.{key}=VALUE")


def _check_elements(key, before, after):
    """A tuple of numbers stays a tuple of numbers."""
    if not isinstance(before, tuple) or not before:
        return
    kinds = {type(element) for element in before}
    allowed = kinds | ({int} if float in kinds else set())
    if any(type(element) not in allowed for element in after):
        raise UsageError(f"config key {key!r} takes a tuple such as '{before}', not '{after}'")


def _wrong_type(message, config):
    """absl's "flag --config.a.b=x: invalid ..." in words that name the type."""
    match = re.match(r"flag --config\.([^=]+)=(.*?): ", message, re.DOTALL)
    if not match:
        return message
    key, text = match.groups()
    kind = _kind(config, key)
    hint = ""
    if kind is int:
        with contextlib.suppress(ValueError):
            hint = f"; write {int(float(text))}" if float(text).is_integer() else ""  # such as 1e5
    return f"config key {key!r} takes {_KINDS[kind]} (it is {_get(config, key)!r}), not {text!r}{hint}"


def _did_you_mean(name):
    return f"; did you mean {name!r}?" if name else "; --help with this --config lists the keys"


def _unknown_flag(name, keys):
    """An unknown ``--name``: a misspelt flag, or a config key without its ``config.``."""
    close = difflib.get_close_matches(name, ["config", "workdir", "help"], 1, 0.6)
    if close:
        return f"no flag --{name}; did you mean --{close[0]}?"
    key = nearest_key(re.sub(r"^c\w*\.", "", name) if name not in keys else name, keys)
    if key:
        return f"no flag --{name}; did you mean --config.{key}=VALUE?"
    return f"no flag --{name}; there are --config, --config.KEY, --workdir and --help"


def _stray(word, keys):
    """An argument that is no flag, such as ``lr=3``."""
    name, equals, value = word.partition("=")
    key = nearest_key(name.removeprefix("config."), keys) if equals else None
    if key:
        return f"{word!r} is not a flag; did you mean --config.{key}={value}?"
    return f"{word!r} is not a flag; write --config.KEY=VALUE for a value, --workdir=DIR for the run's place"


def _no_config(rest):
    for argument in rest:
        if argument.startswith("-") and not re.match(r"--?(no)?config\.", argument):
            return _unknown_flag(argument.lstrip("-").split("=")[0], ())
    names = ", ".join(map(config_file.show, config_file.files()))
    return f"no --config given; write --config=FILE{f', with one of {names}' if names else ''}"


def _workdir(name):
    """The run directory as a Path, or None; UsageError where a file stands in its way."""
    if name is None:
        return None
    path = pathlib.Path(name).expanduser()
    check_folder(path, "--workdir")
    return path


def _help(program, meanings, more_flags, name=None, config=None):
    """The usage, and the config files there are, or what the named one says and its keys."""
    lines = [
        f"usage: {program} --config=FILE[:ARG] [--config.KEY=VALUE ...] [--workdir=DIR]",
        "",
        "  --config=FILE[:ARG]    a Python file with get_config([ARG])",
        "  --config.KEY=VALUE     change one value of the config",
        "  --workdir=DIR          where the run goes; a run found there is resumed",
        *more_flags,
        "  --help                 this; with --config, the keys of that file",
        "",
    ]
    if config is None:
        lines.append("Config files:")
        for path in config_file.files():
            first = config_file.docstring(path).partition("\n")[0]
            lines.append(f"  {config_file.show(path)}" + (f"\n      {first}" if first else ""))
    else:
        text = config_file.docstring(name.partition(":")[0])
        lines += [text, ""] if text else []
        lines.append(f"Keys of {name}, with their values:")
        for key in _keys(config):
            lines.append(f"  --config.{key}={_get(config, key)!r}")
            lines += [f"      {meanings[key]}"] if key in meanings else []
    return "\n".join(lines)


def _print_error(message):
    print("error: " + " ".join(str(message).split()), file=sys.stderr)
