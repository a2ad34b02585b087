"""Phase 2 for many cycles, watched:  python -m experiments.torture.cycles RUN CYCLES

RUN is the directory of a run of ``smallest`` without phase 2. Prints a line of JSON for every cycle: how many programs
have been compiled so far, and how many bytes of its heap the process uses and holds.
"""

import json
import sys

import jax

from experiments.run.directory import Run
from experiments.run.memory import heap_bytes, keep_freed_memory
from experiments.run.metrics_log import MetricsLog
from experiments.stages import phase2
from experiments.torture.smallest import get_config
from prowl_jax.train.compilation_cache import enable_compilation_cache


def main(workdir, cycles):
    """So many cycles of the arm prowl, in a run directory that has all before them."""
    config = get_config()
    config.phase2.cycles = int(cycles)
    compiled, write = [], MetricsLog.write

    def hear(name, *_, **__):
        if name.endswith("backend_compile_duration"):
            compiled.append(name)

    def watched(self, *, stage, **row):
        if stage == "phase2":
            used, held = heap_bytes()
            print(json.dumps({"compiled": len(compiled), "used": used, "held": held}), flush=True)
        write(self, stage=stage, **row)

    keep_freed_memory()
    enable_compilation_cache()
    jax.monitoring.register_event_duration_secs_listener(hear)
    MetricsLog.write = watched
    phase2.run_arm(Run(workdir, config.lock()), "prowl")


if __name__ == "__main__":
    main(*sys.argv[1:])
