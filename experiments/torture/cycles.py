"""Phase 2 of the tiny run for many cycles, watched:  python -m experiments.torture.cycles DIR CYCLES

Prints as its last line, as JSON, how many programs were compiled and how much memory was held after cycles.
"""

import json
import sys

import jax
import psutil

from experiments import pipeline
from experiments.configs import quickstart
from experiments.logging import MetricsLog

SETTLED = 10  # cycles after which nothing new shall be compiled or kept


def main(workdir, cycles):
    """Run all stages with so many cycles of PROWL alone."""
    config = quickstart.get_config("tiny")
    config.arms, config.phase2.cycles = ("prowl",), int(cycles)
    compiled, seen, process, write = [], [], psutil.Process(), MetricsLog.write

    def hear(name, *_, **__):
        if name.endswith("backend_compile_duration"):
            compiled.append(name)

    def watched(self, *, stage, **row):
        if stage == "phase2":
            seen.append((len(compiled), process.memory_info().rss))
        write(self, stage=stage, **row)

    jax.monitoring.register_event_duration_secs_listener(hear)
    MetricsLog.write = watched
    pipeline.run_all(config.lock(), workdir)
    first, last = seen[min(SETTLED, len(seen) - 1)], seen[-1]
    said = {"cycles": len(seen), "compiled": last[0] - first[0], "grown_mb": round((last[1] - first[1]) / 1e6, 1)}
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
