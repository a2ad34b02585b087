"""Where a run's time goes, stage by stage: compiling, computing, waiting, and what the host does.

``Watch`` listens to JAX, which tells how long it traces and compiles (``jax.monitoring``), and to the stretches that
the code names where it waits or works on the host (``prowl_jax.spans``). A stretch counts without those inside it,
so that every moment of the thread that runs the stages counts once; what is left of a stage is computing: the
programs, and the Python between them.

Programs are told when they are called, and what they multiply is counted once for each of their shapes
(``traced_flops``). Of a program whose loop ends when its values say so one turn counts.
"""

import collections
import contextlib
import dataclasses
import logging
import threading
import time

import jax
import jax.numpy as jnp

from experiments.benchmarks.timing import alternate
from experiments.benchmarks.train_step import matmul_rate
from experiments.planning.traced_flops import traced_flops
from experiments.stages import pipeline
from prowl_jax import spans

COMPILING = "compiling"
BETWEEN = "between"
"""The name of what is outside all stages."""
COUNTING = "counting"
"""What the profile itself takes: tracing programs for their products."""
SQUARE = 2048
"""Side of the matrices whose product in float32 is the machine's rate."""
PHASES = {
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
    "/jax/core/compile/backend_compile_duration": "XLA",
}
"""What JAX tells of compiling -> its name here. The last includes reading from the persistent cache."""


@dataclasses.dataclass(frozen=True)
class Program:
    """A program that was asked for: its ``key`` tells it from all others, ``again`` where it was asked for before."""

    name: str
    key: str
    from_cache: bool
    again: bool


class Watch:
    """Listens while it is entered, to one run in this process.

    Attributes:
      seconds: stage (``BETWEEN`` outside all) -> kind -> seconds of the main thread; the kind ``spans.STAGE`` is what
        is left of the stage.
      flops: stage -> what its programs multiplied.
      compiling: name of ``PHASES`` -> seconds of the main thread.
      compiled: name of a function -> seconds that XLA took for it, in every thread.
      programs: ``Program``s in the order in which they were asked for.
    """

    def __init__(self):
        self.seconds, self.programs = collections.defaultdict(collections.Counter), []
        self.flops, self.compiling, self.compiled = (collections.Counter() for _ in range(3))
        self._main, self._stage, self._open = threading.get_ident(), BETWEEN, []
        self._counted, self._keys = {}, set()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            stack.enter_context(spans.listen(self))
            jax.monitoring.register_event_duration_secs_listener(self._heard)
            stack.callback(jax.monitoring.unregister_event_duration_listener, self._heard)
            stack.enter_context(_log_of_keys(self._asked))
            self._stack = stack.pop_all()
        self._open.append(_Open())
        return self

    def __exit__(self, *_):
        self._stack.close()
        self.seconds[BETWEEN][spans.STAGE] = self._open.pop().left()

    @property
    def twice(self):
        """Names of the programs that were asked for again, of which JAX should have kept the first."""
        return [program.name for program in self.programs if program.again]

    def entered(self, kind, name):
        """A stretch begins, see ``spans.Listener``; only those of the main thread count."""
        if threading.get_ident() == self._main:
            self._open.append(_Open())
            self._stage = name if kind == spans.STAGE else self._stage

    def left(self, kind, name):
        """It is over."""
        del name
        if threading.get_ident() != self._main:
            return
        stretch = self._open.pop()
        self.seconds[self._stage][kind] += stretch.left()
        self._open[-1].within += stretch.took()
        self._stage = BETWEEN if kind == spans.STAGE else self._stage

    def called(self, function, arguments, keywords):
        """A program is called, see ``spans.Listener``."""
        leaves = jax.tree.leaves((arguments, keywords))
        if threading.get_ident() != self._main or any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return  # within another program, or beside the run
        shapes = tuple((getattr(leaf, "shape", leaf), str(getattr(leaf, "dtype", ""))) for leaf in leaves)
        which = id(function), shapes
        if which not in self._counted:
            self.entered(COUNTING, "")
            flops = traced_flops(lambda *a: function(*a, **keywords), *arguments)
            self._counted[which] = function, flops  # the function stays, so that no other gets its id
            self.left(COUNTING, "")
        self.flops[self._stage] += self._counted[which][1]

    def _heard(self, event, seconds, **more):
        if (phase := PHASES.get(event)) is None:
            return
        if phase == "XLA":
            self.compiled[more.get("fun_name", "?")] += seconds
        if threading.get_ident() == self._main:
            own = self._open[-1].compiled_for(seconds)
            self.seconds[self._stage][COMPILING] += own
            self.compiling[phase] += own

    def _asked(self, name, key, from_cache):
        self.programs.append(Program(name.removeprefix("jit_"), key, from_cache, key in self._keys))
        self._keys.add(key)


class _Open:
    """A stretch that is not over; ``within`` are the seconds of those inside it."""

    def __init__(self):
        self._began, self.within, self._compiled = time.perf_counter(), 0.0, []

    def took(self):
        """Seconds since it began."""
        return time.perf_counter() - self._began

    def left(self):
        """Those of them in nothing within."""
        return max(0.0, self.took() - self.within)

    def compiled_for(self, seconds):
        """JAX has traced or compiled for so long until now; returns the seconds that were not told before.

        It tells what it does within something else, such as tracing a function that another one calls, first.
        """
        ended = time.perf_counter()
        began, told = ended - seconds, 0.0
        while self._compiled and sum(self._compiled[-1]) / 2 >= began:  # its clock is apart from ours by microseconds
            inner = self._compiled.pop()
            told += inner[1] - inner[0]
        self._compiled.append((began, ended))
        self.within += max(0.0, seconds - told)
        return max(0.0, seconds - told)


@contextlib.contextmanager
def _log_of_keys(told):
    """Call ``told(name, key, from_cache)`` of each program that JAX looks for in its persistent cache.

    The key is of the program's text and its options, and JAX tells it nowhere but in its log.
    """
    logger = logging.getLogger("jax._src.compiler")
    level, shown = logger.level, logger.getEffectiveLevel()

    def look(record):
        if "with key" in str(record.msg) and len(record.args) == 2:
            told(*map(str, record.args), "hit" in record.msg)
        return record.levelno >= shown

    logger.addFilter(look)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeFilter(look)


def machine_rate(square=SQUARE, repeats=10):
    """FLOP/s of a float32 product of square matrices here: the median of ``repeats``."""
    product, flops = matmul_rate(jnp.float32, square)
    return flops / alternate({"product": product}, repeats)["product"]


def table(watch, rate):
    """The profile as a dict for a JSON file.

    Args:
      watch: a ``Watch`` that is over. rate: FLOP/s that the machine is held against.

    Returns:
      ``seconds`` in all; ``rate`` in FLOP/s; ``stages``: of each, and of what is ``between`` them, ``seconds``,
      ``compiling``, ``computing``, ``waiting``, ``host`` and ``counting``, ``flops`` and ``of_rate`` (None where none
      were counted); ``compiling``, ``waiting`` and ``host``: seconds by what it was; ``programs``: how many XLA
      ``compiled`` and how many were read ``from_cache``, which took it longest and which it was asked for ``twice``.
    """
    names = [*(name for name in watch.seconds if name != BETWEEN), BETWEEN]
    stages = {name: _row(watch.seconds[name], watch.flops[name], rate) for name in names}
    every = sum(watch.seconds.values(), collections.Counter())
    return {
        "seconds": sum(every.values()),
        "rate": rate,
        "stages": stages,
        "compiling": dict(watch.compiling),
        "waiting": {kind: every[kind] for kind in spans.WAITS if every[kind]},
        "host": {kind: every[kind] for kind in spans.WORKS if every[kind]},
        "programs": {
            "compiled": sum(not program.from_cache for program in watch.programs),
            "from_cache": sum(program.from_cache for program in watch.programs),
            "longest": dict(watch.compiled.most_common(8)),
            "twice": watch.twice,
        },
    }


def _row(seconds, flops, rate):
    computing = seconds.get(spans.STAGE, 0.0)
    row = {
        "compiling": seconds.get(COMPILING, 0.0),
        "computing": computing,
        "waiting": sum(seconds.get(kind, 0.0) for kind in spans.WAITS),
        "host": sum(seconds.get(kind, 0.0) for kind in spans.WORKS),
        "counting": seconds.get(COUNTING, 0.0),
    }
    of_rate = flops / computing / rate if flops and computing > 0 else None
    return {"seconds": sum(row.values()), **row, "flops": flops, "of_rate": of_rate}


def lines(profile):
    """The profile in lines of at most 80 columns."""
    heads = f"{'all':>7} {'compiling':>9} {'computing':>9} {'of rate':>7} {'waiting':>7} {'host':>7}"
    yield f"{'stage, seconds':<26} {heads}"
    total = collections.Counter()
    for name, row in profile["stages"].items():
        total.update({kind: value or 0 for kind, value in row.items()})
        yield _line(name, row)
    flops, computing = total["flops"], total["computing"]
    of_rate = flops / computing / profile["rate"] if flops and computing else None
    yield _line("all", {**total, "of_rate": of_rate})
    shares = "   ".join(
        f"{kind} {total[kind] / total['seconds']:.0%}" for kind in ("compiling", "computing", "waiting", "host")
    )
    yield f"{shares}   of {total['seconds']:.0f} s"
    yield f"rate: {profile['rate'] / 1e9:.0f} GFLOP/s, a float32 product of {SQUARE} x {SQUARE}"
    for title in ("compiling", "waiting", "host"):
        yield from _list(f"{title}: ", (f"{kind} {s:.1f}" for kind, s in _largest(profile[title])))
    programs = profile["programs"]
    yield f"programs: {programs['compiled']} compiled, {programs['from_cache']} read from the cache"
    yield from _list("longest: ", (f"{name} {s:.1f}" for name, s in _largest(programs["longest"])))
    again = collections.Counter(programs["twice"]).most_common(8)
    yield from _list("asked for again: ", (f"{name} x{n}" for name, n in again))
    if total["counting"] > 0.05:
        yield f"the profile itself traced programs for {total['counting']:.1f} s"


def _line(name, row):
    share = "-" if row["of_rate"] is None else f"{row['of_rate']:.0%}"
    return (
        f"{name[:26]:<26} {row['seconds']:>7.1f} {row['compiling']:>9.1f} {row['computing']:>9.1f} {share:>7} "
        f"{row['waiting']:>7.1f} {row['host']:>7.1f}"
    )


def _largest(seconds):
    return sorted(seconds.items(), key=lambda item: -item[1])


def _list(title, items):
    """``title`` and the items behind it, in lines of at most 80 columns; none where there are no items."""
    text = title
    for i, item in enumerate(items):
        if i and len(text) + len(item) + 2 > 80:
            yield text.rstrip(", ")
            text = "  "
        text += f"{item}, "
    if text != title:
        yield text.rstrip(", ")


def profile(config, workdir):
    """Do a whole run in ``workdir``, which must be new, and say where its time went: see ``table``.

    On a CPU every program is waited for where it is called, so that its time does not count where its result is read.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # heard until JAX has begun
    rate = machine_rate()
    with Watch() as watch:
        pipeline.run_all(config, workdir)
    return table(watch, rate)
