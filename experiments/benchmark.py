"""Every speed beside its rival or its limit, measured in one run.

    python -m experiments.benchmark [--quick] [--only=SUBJECT,...] [--output=benchmark.json]

Writes: --output, rows {name, value, unit, against, ratio, repeats, seconds} and where they come from.
Costs: under two minutes on 2 cores with --quick, most of it compiling; without it several times that.

Values are medians of at least 10 timed calls, rivals in alternation, compile times in rows of their own. A rival
that is not installed is a row without a value that says so. Compare ratios, not times: machines have
moods. --quick compiles at LLVM's level 1, a third faster, and the programs are as fast.
"""

import dataclasses
import importlib
import os
import pathlib
import sys
import textwrap
import time


def main(argv):
    """Measure, print, write; returns the exit code."""
    from experiments import benchmarks
    from experiments.run import command_line

    options = _parse(argv, benchmarks.SUBJECTS, command_line.fail)
    output = pathlib.Path(options.output)
    if not output.parent.is_dir():
        command_line.fail(f"--output: there is no directory {output.parent}")
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
    parser.add_argument("--output", metavar="FILE", default="benchmark.json", help="where the rows go")
    options = parser.parse_args(argv)
    options.only = options.only.split(",")
    for subject in options.only:
        if subject not in subjects:
            fail(f"--only: there is no subject {subject!r}; take some of {', '.join(subjects)}")
    return options


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
