"""What a configuration needs, before there is a device or a file of it: ``--config.dry_run=True`` of prowl_main.

  python -m experiments.planning.dry_run --config=FILE[:arg]   the same from the traced steps alone: nothing is compiled

Every step of phase 1 and phase 2 is lowered and compiled at full size for a mesh of pretended CPU devices,
from shapes with their placement alone: nothing is allocated, and files that are not there have the sizes
that the configuration says (VPT by the name of its file, UMT5's width, SEA-RAFT's M). A deeper DiT than
``TRACED`` and ``COMPILED`` say is traced and compiled at these two depths and its figures are continued
linearly, since every layer adds the same. The devices are those of ``mesh.data`` and ``mesh.fsdp``;
``mesh.data=-1`` is eight in all.

FLOPs are those of the products in the traced step, of all devices together and without what
rematerialisation adds. Hours are these over the peak rates of ``ACCELERATORS`` times ``MFU``; neither the
environment, nor what the evaluation takes, nor the encoding of the demonstrations is in them.

Memory is that of one device. ``arguments`` are what the step is given, and right on every device.
``kept`` is what the forward pass of a training step keeps for the gradient, read off the traced step.
``temporary`` is all that the CPU's compiler wants beside the arguments, a guide: it computes bfloat16
products in float32. It undoes rematerialisation; there an upper estimate from the traced gradient stands in,
marked ``<`` (``traced_memory``).
"""

import functools
import math
import sys
import time

import jax

from experiments.configs.default import MEANINGS
from experiments.planning import consistency, preflight
from experiments.planning.dry_run_steps import parameters, steps
from experiments.planning.traced_flops import traced_flops
from experiments.run import command_line
from experiments.run.command_line import UsageError
from experiments.run.failures import guarded
from experiments.stages import build
from prowl_jax.train.mesh import make_mesh

TRACED, COMPILED = (2, 3), (1, 2)
"""Depths; with a single layer the most memory is wanted elsewhere than with several."""
MFU = 0.35
ACCELERATORS = {
    "A100 80 GB": (312, 80, "NVIDIA, A100 datasheet"),
    "H100 SXM": (989, 80, "NVIDIA, H100 datasheet"),
    "H200 SXM": (989, 141, "NVIDIA, H200 datasheet"),
    "TPU v5e": (197, 16, "cloud.google.com/tpu/docs/v5e"),
    "TPU v5p": (459, 95, "cloud.google.com/tpu/docs/v5p"),
    "TPU v6e": (918, 32, "cloud.google.com/tpu/docs/v6e"),
}
"""Name -> (peak TFLOP/s of dense bfloat16 products, GB of memory, where both are published).

NVIDIA's sheets of the H100 and H200 give 1,979 TFLOP/s with sparsity; the dense rate is half of it.
"""


def main(config, compiling=True):
    """Print the tables; returns the exit code. Without ``compiling`` from the traced steps alone."""
    pretend(config)
    try:
        mesh = make_mesh(config.mesh.data, config.mesh.fsdp)
    except ValueError as error:
        raise UsageError(f"{error}; set mesh.data and mesh.fsdp, or mesh.data=-1") from None
    build.check_mesh(config)
    depth = build.make_world_model(config).dit.depth
    devices = f"{mesh.shape['data']} x {mesh.shape['fsdp']} devices (data x fsdp)"
    print(f"{config.name}: {devices}, {_how(config, depth, compiling)}")
    everything, trained = parameters(config)
    print(f"parameters of the DiT: {everything / 1e6:,.1f} M; phase 2 trains {trained / 1e6:,.1f} M\n")
    print("| step | times | PFLOP | arguments, GB | kept, GB | temporary, GB | compiled in, s |")
    print("|---" * 7 + "|")
    of_depth = functools.cache(lambda layers: steps(config, mesh, layers))
    figures = {}
    for i, step in enumerate(of_depth(_depths(depth, TRACED)[0])):
        figures[step.name] = row = measure_step(config, lambda layers, i=i: of_depth(layers)[i], depth, compiling)
        print(_row(step.name, row), flush=True)
    print("\n" + "\n".join(hours(figures, mesh.size)))
    return 0


def pretend(config):
    """Let JAX, which must not have begun, see as many CPU devices as the mesh asks for."""
    data, fsdp = config.mesh.data, config.mesh.fsdp
    devices = max(8, fsdp) if data == -1 else data * fsdp
    try:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", devices)
    except RuntimeError:
        pass  # JAX has begun: its devices are what they are
    if jax.device_count() != devices:
        raise UsageError(
            f"a dry run for {devices} devices sees {jax.device_count()}; start it in a process of its own with "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={devices}"
        )


def _depths(depth, two):
    """The depths from which the figures of ``depth`` layers come."""
    return (depth,) if depth <= max(two) else two


def _how(config, depth, compiling):
    done = (("traced", TRACED), ("compiled", COMPILED)) if compiling else (("traced", TRACED),)
    parts = [f"{word} at {' and '.join(map(str, _depths(depth, two)))} layers" for word, two in done]
    if config.world_model.attention == "cudnn":
        parts.append("attention=blocked stands for cudnn, which a CPU does not have")
    return "; ".join(parts)


def measure_step(config, of_depth, depth, compiling=True, depths=(TRACED, COMPILED)):
    """``traced`` and, with ``compiling``, ``temporary`` and ``seconds`` of ``compiled``, each from its ``depths``;
    ``estimated``: whether ``temporary`` is the upper estimate from the trace."""
    figures = traced(of_depth, depth, depths[0])
    peak = figures.pop("peak", None)
    if compiling:
        figures["temporary"], figures["seconds"] = compiled(of_depth, depth, depths[1])
    figures["estimated"] = peak is not None and config.world_model.remat
    return figures | ({"temporary": peak} if figures["estimated"] else {})


def traced(of_depth, depth, two=TRACED):
    """Figures of a step at ``depth`` that need no compiler, from ``two`` depths; ``of_depth(layers)`` is its ``Step``.

    Returns:
      dict: ``times``; ``flops``; ``arguments``, bytes on a device; of a training step also ``kept`` and ``peak``.
    """

    def figures(step):
        flops = traced_flops(step.counted, *step.arguments, loops=step.loops)
        return flops, _bytes_on_a_device(step.arguments), *(step.gradient() if step.gradient else ())

    depths = _depths(depth, two)
    numbers = _continued(figures, of_depth, depths, depth)
    names = ("flops", "arguments", "kept", "peak")[: len(numbers)]
    return {"times": of_depth(depths[0]).times, **dict(zip(names, numbers, strict=True))}


def compiled(of_depth, depth, two=COMPILED):
    """(temporary bytes on a device, seconds of compiling) of a step, given as to ``traced``."""
    start = time.monotonic()

    def figures(step):
        # Machine code is not looked at.
        program = step.program.lower(*step.arguments).compile({"xla_backend_optimization_level": 0})
        return (program.memory_analysis().temp_size_in_bytes,)

    depths = _depths(depth, two)
    (temporary,) = _continued(figures, of_depth, depths if of_depth(depths[0]).layered else depths[:1], depth)
    return temporary, time.monotonic() - start


def _continued(figures, of_depth, depths, depth):
    """What ``figures`` says of a step at each of ``depths``, continued to ``depth``."""
    found = [figures(of_depth(layers)) for layers in depths]
    share = (depth - depths[0]) / (depths[1] - depths[0]) if len(depths) > 1 else 0.0
    return tuple(a + (b - a) * share for a, b in zip(found[0], found[-1], strict=True))


def _bytes_on_a_device(arguments):
    leaves = jax.tree.leaves(arguments)
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in leaves)


def _row(name, f):
    columns = [f"{f[kind] / 1e9:,.2f}" if kind in f else "" for kind in ("arguments", "kept")]
    columns.append(f"{f['temporary'] / 1e9:,.2f}" if "temporary" in f else "")
    if f["estimated"]:
        columns[-1] = f"< {columns[-1]}"
    columns.append(f"{f['seconds']:.0f}" if "seconds" in f else "")
    return f"| {name} | {f['times']:,} | {f['flops'] / 1e15:,.4g} | {' | '.join(columns)} |"


def hours(figures, devices):
    """Lines of the table of accelerators."""
    phase1 = sum(f["times"] * f["flops"] for name, f in figures.items() if name == "phase 1 step")
    whole = sum(f["times"] * f["flops"] for f in figures.values())
    needed = max(f["arguments"] + f.get("temporary", f.get("kept", 0)) for f in figures.values())
    asked = f"about {needed / 1e9:,.0f} are needed"
    yield f"| {devices} of | peak, TFLOP/s | phase 1, h | phase 2, h | memory, GB | {asked} | source |"
    yield "|---" * 7 + "|"
    for name, (peak, memory, source) in ACCELERATORS.items():
        rate = devices * peak * 1e12 * MFU * 3600
        fits = "there" if needed < memory * 1e9 else "too little"
        times = f"{phase1 / rate:,.1f} | {(whole - phase1) / rate:,.1f}"
        yield f"| {name} | {peak} | {times} | {memory} | {fits} | {source} |"
    yield f"\nHours at an assumed {MFU:.0%} of the peak rate of bfloat16 (MFU); without the environment."


def trace_only(argv):
    """The command; returns the exit code."""
    config, _ = command_line.parse(argv, program="python -m experiments.planning.dry_run", meanings=MEANINGS)
    config.dry_run = True
    command_line.validate(config, consistency.RULES)
    return guarded(lambda: main(config, compiling=False), config, preflight.largest)


if __name__ == "__main__":
    sys.exit(trace_only(sys.argv[1:]))
