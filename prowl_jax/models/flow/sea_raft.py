"""SEA-RAFT (arXiv 2405.14793), the optical flow that PROWL measures motion with, in Flax.

Interchangeable with ``metrics.optical_flow``: frames in 0..1 in, pixels to the right and down out. The
weights are Princeton's (``load``); with random ones it measures nothing. Source: the paper and the
public code of princeton-vl/SEA-RAFT (BSD-3).
"""

import dataclasses

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from prowl_jax.models.flow import sea_raft_parts as parts
from prowl_jax.models.initial import initial

STRIDE = 8
SMALLEST = 128
"""Least side of a padded image: below it the coarsest level of the correlation has a single pixel."""
PAIRS = 8
"""Frame pairs at a time: the all-pairs correlations of many more would not fit in memory."""


class SeaRaftNetwork(nn.Module):
    """The network on images whose sides are multiples of 8, of at least ``SMALLEST`` pixels.

    Attributes:
      stem, widths, blocks: of both encoders (S: the stages of ResNet-18, M and L: of ResNet-34).
      features: of the recurrent state; an encoder gives twice as many.
      radius, levels: of the correlation's window. updates: ConvNeXt blocks of an iteration.
      iterations: looks at the correlation (S and M 4; L is M's network with 12).
    """

    stem: int = 64
    widths: tuple = (64, 128, 256)
    blocks: tuple = (2, 2, 2)
    features: int = 128
    radius: int = 4
    levels: int = 4
    updates: int = 2
    iterations: int = 4

    def setup(self):
        d = self.features
        self.cnet, self.fnet = (parts.Encoder(self.stem, self.widths, self.blocks, 2 * d) for _ in range(2))
        self.init_conv = parts.conv(2 * d, 3)
        self.update_block = parts.Update(d, self.updates)
        self.flow_head = parts.Head(2 * d, 6, 3)
        self.upsample_weight = parts.Head(2 * d, 9 * STRIDE**2, 1)

    def __call__(self, first, second, every=False):
        """Flow from ``first`` to ``second``: float ``[N, H, W, 3]`` in -1..1.

        Returns:
          ``(flow, info)``: ``[N, H, W, 2]`` in pixels (right, down) and ``[N, H, W, 4]``, two logits
          of the Laplace mixture and two logarithms of its scales. With ``every`` one of each for
          the regressed start and for every iteration, along a leading axis.
        """
        predictions = self.refine(first, second)
        if every:
            return self.full_size_of_all(*predictions)
        return self.full_size(*(x[-1] for x in predictions))

    def refine(self, first, second):
        """``(net, flow, info)`` at an eighth, each with all predictions along a leading axis."""
        context = self.init_conv(self.cnet(jnp.concatenate([first, second], axis=-1)))
        net, context = jnp.split(context, 2, axis=-1)
        features = self.fnet(jnp.concatenate([first, second]))
        pyramid = parts.correlation_pyramid(*jnp.split(features, 2), self.levels)
        flow, info = jnp.split(self.flow_head(net), [2], axis=-1)

        def iteration(self, carry, _, context, pyramid):
            net, flow = carry
            net = self.update_block(net, context, parts.look_up(pyramid, flow, self.radius), flow)
            step, info = jnp.split(self.flow_head(net), [2], axis=-1)
            return (net, flow + step), (net, flow + step, info)

        scan = nn.scan(
            iteration,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=(0, nn.broadcast, nn.broadcast),
            length=self.iterations,
        )
        _, later = scan(self, (net, flow), None, context, pyramid)
        return jax.tree.map(lambda x, rest: jnp.concatenate([x[None], rest]), (net, flow, info), later)

    def full_size(self, net, flow, info):
        """``(flow, info)`` at the resolution of the images."""
        both = jnp.concatenate([STRIDE * flow, info], axis=-1)
        return tuple(jnp.split(parts.upsample(both, 0.25 * self.upsample_weight(net)), [2], axis=-1))

    def full_size_of_all(self, *predictions):
        """``full_size`` of arrays with a leading axis of predictions."""
        count = self.iterations + 1
        found = self.full_size(*(x.reshape(-1, *x.shape[2:]) for x in predictions))
        return tuple(x.reshape(count, -1, *x.shape[1:]) for x in found)


@dataclasses.dataclass(frozen=True)
class SeaRaft:
    """The network as an optical flow of frames of any size; hashable, so that jit can close over it."""

    network: SeaRaftNetwork

    def init(self, key):
        """Parameters, random: for shapes and tests."""
        images = jnp.zeros((1, SMALLEST, SMALLEST, 3))
        return initial(self.network, key, images, images)

    def flow(self, params, first, second):
        """Where every pixel of ``first`` has gone: ``second(x + flow(x)) = first(x)``.

        Frames of less than ``SMALLEST`` pixels go through the published scaling: doubled until they are
        large enough, and the flow is brought back to their size.

        Args:
          params: of the network.
          first, second: float ``[..., H, W, 3]`` in 0..1, a moment apart.

        Returns:
          float ``[..., H, W, 2]``: pixels to the right, pixels down.
        """
        chex.assert_equal_shape([first, second])
        *batch, height, width, _ = first.shape
        pairs = tuple(x.reshape(-1, height, width, 3) for x in (first, second))
        at_once = min(PAIRS, pairs[0].shape[0])
        flow = jax.lax.map(lambda pair: self._flow(params, *(x[None] for x in pair))[0], pairs, batch_size=at_once)
        return flow.reshape(*batch, height, width, 2)

    def predict(self, params, first, second, every=False):
        """``(flow, info)`` of float ``[N, H, W, 3]`` in 0..1, all sides at least ``SMALLEST`` once padded.

        Raises:
          ValueError: the images are smaller.
        """
        rows, columns = (_padding(size) for size in first.shape[1:3])
        pad = ((0, 0), rows, columns, (0, 0))
        first, second = (jnp.pad(2.0 * x - 1.0, pad, mode="edge") for x in (first, second))
        if min(first.shape[1:3]) < SMALLEST:
            raise ValueError(
                f"SEA-RAFT needs at least {SMALLEST} pixels a side, got {first.shape[1]}x{first.shape[2]}; see flow()"
            )
        found = self.network.apply({"params": params}, first, second, every)
        height, width = first.shape[1] - sum(rows), first.shape[2] - sum(columns)
        return tuple(x[..., rows[0] : rows[0] + height, columns[0] : columns[0] + width, :] for x in found)

    def _flow(self, params, first, second):
        _, height, width, _ = first.shape
        factor = 2 ** scale_of(height, width)
        first, second = (_resize(x, height * factor, width * factor) for x in (first, second))
        flow, _ = self.predict(params, first, second)
        return _resize(flow, height, width) / factor


def scale_of(height, width):
    """How often the sides must be doubled until both have ``SMALLEST`` pixels, padding included."""
    scale = 0
    while min(size * 2**scale + sum(_padding(size * 2**scale)) for size in (height, width)) < SMALLEST:
        scale += 1
    return scale


def _padding(size):
    """Pixels before and after that make ``size`` a multiple of 8."""
    missing = -size % STRIDE
    return missing // 2, missing - missing // 2


def _resize(x, height, width):
    """Bilinear between pixel centres without averaging, as the published scaling does it both ways."""
    return jax.image.resize(x, (x.shape[0], height, width, x.shape[-1]), "bilinear", antialias=False)
