"""How long a phase-1 step of the quick start waits for its input, as ``training_loop.train`` feeds it."""

import statistics
import tempfile
import time

import jax
import numpy as np

from experiments.benchmarks.timing import Row
from experiments.benchmarks.train_step import quick_start_step
from experiments.configs import quickstart
from experiments.stages import build
from prowl_jax.data.feeder import Feeder, batch_starts
from prowl_jax.train.mesh import place_batch
from prowl_jax.types import Batch

LIMIT = 0.05
FRAMES = 20_000  # of the store


def rows(settings):
    """``input_wait_share``: waiting for a batch and placing it, over the whole step."""
    config = quickstart.get_config("scratch")
    steps = 30 if settings.quick else 200
    with tempfile.TemporaryDirectory() as folder:
        waits, seconds = measure_feeding(config, store(config, folder), steps)
    share = statistics.median(waits) / statistics.median(seconds)
    against = f"limit {LIMIT}; {1e3 * statistics.median(waits):.2f} of {1e3 * statistics.median(seconds):.1f} ms a step"
    yield Row("input_wait_share", share, "share", against, share, steps)


def store(config, folder):
    """Latents and actions of ``FRAMES`` frames in files, mapped as a clip store maps them."""
    h, w, _ = build.frame_shape(config)
    rng, sizes = np.random.default_rng(0), build.spec_of(config).sizes
    np.save(f"{folder}/latents.npy", rng.normal(size=(FRAMES, h // 8, w // 8, config.autoencoder.channels)).astype("f"))
    np.save(f"{folder}/actions.npy", rng.integers(0, sizes, (FRAMES, len(sizes))).astype(np.int32))
    return tuple(np.load(f"{folder}/{name}.npy", mmap_mode="r") for name in ("latents", "actions"))


def measure_feeding(config, data, steps):
    """(seconds waited for the input, seconds in all) of each step, the first left out."""
    w, mesh, train = config.world_model, build.make_config_mesh(config), quick_start_step()
    first_frames = np.arange(FRAMES - w.window)

    def fetch(step):
        frames = batch_starts(0, step, first_frames, w.batch)[:, None] + np.arange(w.window)
        return Batch(*(array[frames] for array in data))

    waits, seconds = [], []
    with Feeder(fetch, 0) as feeder:
        for step in range(steps + 1):
            began = time.perf_counter()
            batch = jax.block_until_ready(place_batch(mesh, next(feeder)))
            waited = time.perf_counter() - began
            jax.block_until_ready(train(batch))
            if step:
                waits.append(waited)
                seconds.append(time.perf_counter() - began)
    return waits, seconds
