"""Every speed beside its rival or its limit, measured in one run.

    python -m experiments.benchmark [--quick] [--only=SUBJECT,...] [--output=benchmark.json]
    python -m experiments.benchmark --profile=CONFIG[:ARG] [--workdir=DIR] [--config.KEY=VALUE ...]

Writes: --output, rows {name, value, unit, against, ratio, repeats, seconds} and where they come from; of a profile too.
Costs: under two minutes on 2 cores with --quick, most of it compiling; without it half an hour; a profile a run.

--profile does a whole run, in a folder that is deleted unless --workdir names one, and says where its time went, stage
by stage: compiling, computing, waiting, host (docs/performance.md).

Values are medians of at least 10 timed calls, rivals in alternation, compile times in rows of their own. A rival
that is not installed is a row without a value that says so. Compare ratios, not times: machines have
moods. --quick compiles at LLVM's level 1, a third faster, and the programs are as fast.
"""

import contextlib
import dataclasses
import importlib
import os
import pathlib
import sys
import tempfile
import textwrap
import time

PROFILE = "python -m experiments.benchmark --profile=CONFIG"


def main(argv):
    """Measure, print, write; returns the exit code."""
    from experiments import benchmarks
    from experiments.run import command_line

    options, rest = _parse(argv, benchmarks.SUBJECTS, command_line.fail)
    output = pathlib.Path(options.output)
    if not output.parent.is_dir():
        command_line.fail(f"--output: there is no directory {output.parent}")
    if options.profile:
        return _profile(options, rest, output)
    if options.quick:
        _compile_sooner()
    from experiments.run.files import write_json
    from experiments.run.memory import keep_freed_memory

    keep_freed_memory()  # as a run does, before JAX starts its threads
    from experiments.run.provenance import in_words, provenance

    noted = provenance(vars(options))
    print(*(line for sentence in in_words(noted) for line in textwrap.wrap(sentence, 76)), sep="\n")
    began = time.monotonic()
    try:
        rows = _measure(options)
    except KeyboardInterrupt:
        print("interrupted: nothing is written", file=sys.stderr)
        return 130
    write_json(output, {"provenance": noted, "rows": rows}, indent=2)
    print(f"{len(rows)} rows in {time.monotonic() - began:.0f} s: {output}")
    return 0


def _profile(options, rest, output):
    """Do a run, print where its time went and write it; returns the exit code."""
    from experiments.run.memory import keep_freed_memory

    keep_freed_memory()  # before JAX starts its threads
    from experiments.benchmarks import profile
    from experiments.configs.default import MEANINGS
    from experiments.planning import consistency, preflight
    from experiments.run import command_line
    from experiments.run.failures import guarded
    from experiments.run.files import write_json
    from experiments.run.provenance import provenance
    from experiments.stages import budget

    config, _ = command_line.parse([f"--config={options.profile}", *rest], program=PROFILE, meanings=MEANINGS)
    command_line.checked(budget.fit, config)
    command_line.validate(config, consistency.RULES)
    if config.dry_run:
        command_line.fail("config key 'dry_run' runs nothing, so nothing can be profiled")
    with contextlib.ExitStack() as stack:
        workdir = options.workdir or stack.enter_context(tempfile.TemporaryDirectory(prefix="profile_")) + "/run"
        if (pathlib.Path(workdir) / "config.json").exists():
            command_line.fail(f"--workdir: {workdir} holds a run; a profile is of a whole one, name a new folder")

        def run():
            found = profile.profile(config, workdir)
            print(*profile.lines(found), sep="\n")
            write_json(output, {"provenance": provenance(config, workdir), **found}, indent=2)
            print(f"profile: {output}")
            return 0

        return guarded(run, config, preflight.largest)


def _measure(options):
    """The rows as dicts, each with the ``seconds`` that it took, compiling included; printed as they come."""
    from experiments.benchmarks.timing import Settings

    settings, rows = Settings(quick=options.quick, repeats=10 if options.quick else 20), []
    print(_line("row", "value", "unit", "ratio"))
    for subject in options.only:
        since = time.monotonic()
        for row in importlib.import_module(f"experiments.benchmarks.{subject}").rows(settings):
            rows.append({**dataclasses.asdict(row), "seconds": round(time.monotonic() - since, 2)})
            print(_text(row), flush=True)
            since = time.monotonic()
    return rows


def _parse(argv, subjects, fail):
    from experiments.run.command_line import Parser

    parser = Parser("python -m experiments.benchmark", __doc__)
    parser.add_argument("--quick", action="store_true", help="small shapes, 10 repeats")
    parser.add_argument("--only", metavar="SUBJECT,...", default=",".join(subjects), help=", ".join(subjects))
    parser.add_argument("--output", metavar="FILE", help="where the rows or the profile go")
    parser.add_argument("--profile", metavar="CONFIG", help="where the time of a run of this configuration goes")
    parser.add_argument("--workdir", metavar="DIR", help="with --profile: where its run stays")
    options, rest = parser.parse_known_args(argv)
    if rest and not options.profile:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if options.workdir and not options.profile:
        fail("--workdir is of --profile: without it nothing is run that could stay")
    options.output = options.output or ("profile.json" if options.profile else "benchmark.json")
    options.only = options.only.split(",")
    for subject in options.only:
        if subject not in subjects:
            fail(f"--only: there is no subject {subject!r}; take some of {', '.join(subjects)}")
    return options, rest


def _compile_sooner():
    """Before JAX is imported: LLVM's optimisation level 1, unless the user's XLA_FLAGS name one."""
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_backend_optimization_level" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_optimization_level=1".strip()


def _line(name, value, unit, ratio):
    return f"{name:<36} {value:>12} {unit:<16} {ratio:>8}"


def _text(row):
    """A row as it is printed: 76 columns, what it is compared with indented below it."""
    value = "-" if row.value is None else _number(row.value)
    ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
    lines = [_line(row.name, value, row.unit, ratio).rstrip()]
    lines += textwrap.wrap(row.against, 74, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


def _number(value):
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
