"""The parts of ``experiments.accelerator_check``, one after the other, and the file that says what came of them."""

import dataclasses
import pathlib
import time
import traceback
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import timing
from experiments.benchmarks.accelerator_training import train_base
from experiments.configs import base_voxel
from experiments.run.command_line import UsageError
from experiments.run.files import write_json
from experiments.run.provenance import provenance
from experiments.stages import build
from prowl_jax.envs.voxel.speed import steps_per_second

DEVICE_UNTIL, ENVIRONMENT_UNTIL = 0.08, 0.2
"""Shares of all the time after which nothing of these parts is begun any more."""
MOST_BYTES = 16e6
"""Of a file of weights, which holds two a parameter."""


class Clock:
    """Seconds since the check began: ``clock()``; of ``total`` there are."""

    def __init__(self, total, now=time.monotonic, began=None):
        self.total, self._now, self._began = total, now, now() if began is None else began

    def __call__(self):
        return self._now() - self._began


class Report:
    """``accelerator.json``, whole at any moment: written anew whenever something is known."""

    def __init__(self, path, clock, **known):
        self.path, self._clock, self.known = path, clock, known

    def put(self, part, **found):
        """Add to what is known of a part, and write."""
        self.known.setdefault(part, {}).update(found)
        self.known["seconds"] = round(self._clock(), 2)
        write_json(self.path, self.known)

    def say(self, line):
        """A line for who waits, after the time."""
        print(f"{self._clock():7.1f} s  {line}", flush=True)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
      config: the base model's configuration, ``env.num_envs`` of its demonstrators recording side by side.
      matrix: rows of the matrices that are multiplied. envs: batches of environments to time.
      clips, horizon: held-out clips, and frames dreamt of each.
      resumed: the ``zoo.Model`` to go on from, or None.
      output: the folder of results.
    """

    config: Any
    matrix: int
    envs: tuple
    clips: int
    horizon: int
    resumed: Any
    output: pathlib.Path


def check(options, clock):
    """Run all parts; returns the exit code. UsageError: what was asked for cannot be."""
    settings = make_settings(options)
    flags = {name: str(value) for name, value in vars(options).items()}
    noted = provenance(settings.config) | {"flags": flags}
    report = Report(settings.output / "accelerator.json", clock, provenance=noted)
    parts = (("device", time_device), ("environment", time_environment), ("training", train_base))
    well = [_attempt(report, name, part, settings, clock) for name, part in parts]
    report.say(f"done: {report.path}")
    return 0 if all(well) else 1


def _attempt(report, name, part, settings, clock):
    """Whether a part succeeded; what it fails with is noted."""
    try:
        part(settings, clock, report)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parts after it may still succeed
        report.put(name, error=f"{type(error).__name__}: {error}"[:2000], traceback=traceback.format_exc()[-4000:])
        report.say(f"{name}: failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        return False
    return True


def make_settings(options):
    """``Settings`` from the flags and the kind of device that JAX finds."""
    config, device = base_voxel.get_config("full"), jax.default_backend() != "cpu"
    w = config.world_model
    config.env.num_envs = 512 if device else 48
    w.batch, w.dtype, w.learning_rate = (256, "bfloat16", 1e-3) if device else (8, "float32", w.learning_rate)
    sizes = {"matrix": 8192, "envs": (256, 1024, 4096)} if device else {"matrix": 512, "envs": (16, 64)}
    sizes |= {"clips": 64, "horizon": 20}
    if options.tiny:
        _shrink(config)
        sizes |= {"matrix": 64, "envs": (2,), "clips": 2}
    w.batch, w.dtype = options.batch or w.batch, options.dtype or w.dtype
    w.learning_rate = options.rate or w.learning_rate
    w.unet.widths = options.widths or w.unet.widths
    if len(w.unet.widths) != len(w.unet.blocks):
        raise UsageError(f"--widths: the network has {len(w.unet.blocks)} levels, not {len(w.unet.widths)}")
    if w.batch % max(w.unet.own_frames):
        raise UsageError(f"--batch={w.batch} is not a multiple of {max(w.unet.own_frames)}, the frames of a clip")
    _check_size(config)
    return Settings(config, **sizes, resumed=_resumed(options.resume, config), output=options.output)


def _shrink(config):
    config.env.update(num_envs=2, frame_height=32, frame_width=32)
    config.env.voxel.worlds = 2
    config.demonstrations.episode_frames = 26
    config.world_model.update(batch=4, warm_up=2)
    config.world_model.unet.update(
        widths=(8, 8), blocks=(1, 1), motion_widths=(8, 8), motion_blocks=(1, 1), width=16, attention=False
    )


def _check_size(config):
    model, shape = build.make_world_model(config), build.frame_shape(config)
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), shape))
    size = 2 * sum(x.size for x in jax.tree.leaves(params))
    if size >= MOST_BYTES:
        raise UsageError(f"--widths: {size / 1e6:.1f} MB of weights; a file is to have less than {MOST_BYTES / 1e6:g}")


def _resumed(name, config):
    """The ``zoo.Model`` to go on from; UsageError where it is not there or another one."""
    if not name:
        return None
    config.base = name
    try:
        build.check_base(config)
    except UsageError as error:
        raise UsageError(f"--resume: {error}") from None
    return build.load_base(name)


def time_device(settings, clock, report):
    """What it is, and the rate of its products."""
    device = jax.devices()[0]
    report.put("device", **describe(device))
    report.say(f"device: {jax.device_count()} x {device.device_kind}, jax {jax.__version__}")
    rates = {}
    for name, dtype, precision in (
        ("bfloat16", jnp.bfloat16, None),
        ("float32", jnp.float32, None),  # as JAX does it: on accelerators of fewer bits
        ("float32_highest", jnp.float32, "highest"),
    ):
        if clock() > DEVICE_UNTIL * clock.total:
            break
        rates[name] = round(matmul_rate(settings.matrix, dtype, precision), 3)
        report.put("device", matmul_tflops=rates, matmul_rows=settings.matrix)
        report.say(f"device: {rates[name]:,} TFLOP/s in {name}")


def describe(device):
    """The device; what else it runs on is in the file's provenance."""
    try:
        memory = (device.memory_stats() or {}).get("bytes_limit")
    except jax.errors.JaxRuntimeError:  # not every backend counts
        memory = None
    return {"platform": device.platform, "kind": device.device_kind, "memory_bytes": memory}


def matmul_rate(rows, dtype, precision, products=8):
    """TFLOP/s of products of square matrices, each of the one before."""
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(rows, rows)) / np.sqrt(rows), dtype)

    @jax.jit
    def power(a):
        return jax.lax.fori_loop(0, products, lambda _, x: jnp.matmul(x, a, precision=precision), a)

    seconds = timing.alternate({"power": lambda: power(matrix)}, 3)["power"]
    return 2.0 * products * rows**3 / seconds / 1e12


def time_environment(settings, clock, report):
    """Steps of the voxel world a second, random actions and frames, at several sizes of the batch."""
    config, rows, took = settings.config, [], 0.0
    v = config.env.voxel
    world = {"worlds": v.worlds, "look": v.look, "hour": None if v.hour < 0 else v.hour}
    for envs in settings.envs:
        began = clock()
        if began + took > ENVIRONMENT_UNTIL * clock.total:  # the next one compiles as long as the last one
            rows.append({"envs": envs, "steps_per_s": None, "why": "no time was left"})
        else:
            frame_size = build.frame_shape(config)[:2]
            rate = steps_per_second(envs, repeats=3, task=config.env.task, frame_size=frame_size, **world)
            took = clock() - began
            rows.append({"envs": envs, "steps_per_s": round(rate), "seconds": round(took, 2)})
            report.say(f"environment: {rate:,.0f} steps/s of {envs} side by side, {took:.1f} s with compiling")
        report.put("environment", batches=rows)
