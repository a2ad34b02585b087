"""A small world to play in, a small dreamer of it, and a server of both."""

import asyncio
import dataclasses
import threading

import device_toy
import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("aiohttp", reason="the live pages need the extra play")

from toy_contest import toy_contest

from experiments.configs import base_voxel
from experiments.evaluation.poll import Poll
from experiments.live import pages_of_compare, server
from experiments.live.booth import Booth
from experiments.live.pages_of_play import PAGES
from experiments.live.play_socket import Table
from experiments.live.played import Played
from experiments.live.programs import Programs
from experiments.live.reality import DeviceWorld
from experiments.live.stage import Stage
from prowl_jax.metrics.optical_flow import small_flow
from prowl_jax.models.unet.unet import UNet
from prowl_jax.models.unet.world_model import UNetWorldModel


@pytest.fixture(scope="session")
def played():
    """``Played`` of a walker on a ring under a network of chance, as small as can be: compiling takes time."""
    ring = device_toy.Ring(jnp.uint8(200), jnp.int32(10_000))
    network = UNet(ring.spec.sizes, widths=(8,), blocks=(1,), width=16, motion=False, attention=False)
    model = UNetWorldModel(network, sampler_levels=(1.0, 0.3, 0.0))
    params = jax.jit(lambda key: model.init(key, ring.frame_shape))(jax.random.key(0))
    rng = np.random.default_rng(0)  # a fresh network heeds no action: what is told of them begins at zero
    stirred = jax.tree.map(lambda x: x + rng.normal(0, 0.1, x.shape).astype(np.float32), params["dit"])
    params = {**params, "dit": stirred}
    programs = Programs(model, params, ring.frame_shape, model.context, small_flow)
    config, world = base_voxel.get_config("tiny"), DeviceWorld(ring)
    world.compile_ahead()
    return Played("a toy", {"phase1": params}, programs, world, config, "wander", None, {}, 4, "toy")


@pytest.fixture
def short_lived(played):
    """The same where an episode lasts nine steps."""
    return dataclasses.replace(played, world=DeviceWorld(device_toy.Ring(jnp.uint8(200), jnp.int32(9))))


@pytest.fixture(scope="session")
def toy():
    return device_toy


class Served:
    """A server in a thread: its ``url``, and its ``Table`` or ``Booth``."""

    def __init__(self, app, table):
        self._app, self.table = app, table
        self._loop, self._ended, self._there = None, None, threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def _serve(self):
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        await server.serving(self._app, "127.0.0.1", 0, says=self._says, ended=self._ended)

    def _says(self, url):
        self.url = url
        self._there.set()

    def __enter__(self):
        self._thread.start()
        assert self._there.wait(20)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture(scope="session")
def serve():
    """``Served``."""
    return Served


@pytest.fixture
def served(played, serve, tmp_path):
    table = Table(Stage(played, told=lambda line: None).start(), tmp_path)
    with serve(server.application(PAGES, table.sit, table.status), table) as running:
        yield running


@pytest.fixture
def voting(serve, tmp_path):
    """A page on which is voted, with the real frames beside the dreams."""
    booth = Booth(Poll(toy_contest(), tmp_path / "votes.jsonl", real=True), told=lambda line: None)
    with serve(pages_of_compare.application(booth), booth) as running:
        yield running
