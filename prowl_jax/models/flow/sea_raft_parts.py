"""The parts of SEA-RAFT: residual encoder, all-pairs correlation, ConvNeXt update, convex upsampling.

Source: SEA-RAFT (arXiv 2405.14793) and the public code of princeton-vl/SEA-RAFT (BSD-3); the names of
the submodules are those of its weights. Images lie as ``[N, H, W, C]``.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

_product = functools.partial(jnp.einsum, precision="highest")  # coarser products move the flow by whole pixels


def conv(features, size, stride=1, **options):
    """A convolution padded alike on both sides; flax's "SAME" pads only the far one at stride 2."""
    return nn.Conv(features, (size, size), (stride, stride), padding=size // 2, **options)


class FrozenBatchNorm(nn.Module):
    """Batch norm by the running statistics, which are parameters like the others."""

    @nn.compact
    def __call__(self, x):
        size = (x.shape[-1],)
        scale, variance = (self.param(name, nn.initializers.ones, size) for name in ("scale", "running_var"))
        bias, mean = (self.param(name, nn.initializers.zeros, size) for name in ("bias", "running_mean"))
        return (x - mean) * (jax.lax.rsqrt(variance + 1e-5) * scale) + bias


class ResidualBlock(nn.Module):
    """``relu(shortcut(x) + relu(bn(conv(relu(bn(conv(x)))))))``: a ReLU before the addition too."""

    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x):
        h = nn.relu(FrozenBatchNorm(name="bn1")(conv(self.features, 3, self.stride, name="conv1")(x)))
        h = nn.relu(FrozenBatchNorm(name="bn2")(conv(self.features, 3, name="conv2")(h)))
        if self.stride != 1 or x.shape[-1] != self.features:
            x = FrozenBatchNorm(name="bn3")(conv(self.features, 1, self.stride, name="downsample_0")(x))
        return nn.relu(x + h)


class Encoder(nn.Module):
    """The first three stages of a ResNet without its pooling: ``[N, H, W, C] -> [N, H/8, W/8, features]``.

    Attributes:
      stem: features at a half of the resolution. widths, blocks: of the three stages.
    """

    stem: int
    widths: tuple
    blocks: tuple
    features: int

    @nn.compact
    def __call__(self, x):
        x = nn.relu(FrozenBatchNorm(name="bn1")(conv(self.stem, 7, 2, name="conv1")(x)))
        for stage, (width, blocks) in enumerate(zip(self.widths, self.blocks, strict=True)):
            for i in range(blocks):
                stride = 2 if stage and not i else 1
                x = ResidualBlock(width, stride, name=f"layer{stage + 1}_{i}")(x)
        return conv(self.features, 1, name="final_conv")(x)


def correlation_pyramid(first, second, levels):
    """All-pairs products of two feature maps ``[N, h, w, C]``: a tuple of ``[N, h, w, h/2^l, w/2^l]``.

    Level l compares with ``second`` averaged over 2^l x 2^l; odd last rows and columns are dropped.
    """
    pyramid = []
    for level in range(levels):
        if level:
            second = nn.avg_pool(second, (2, 2), (2, 2))
        pyramid.append(_product("nijc,nklc->nijkl", first, second) / first.shape[-1] ** 0.5)
    return tuple(pyramid)


def look_up(pyramid, flow, radius):
    """Correlation around where every pixel went: flow ``[N, h, w, 2]`` -> ``[N, h, w, levels (2r+1)^2]``.

    Bilinear, zero outside. Channels: level, then offset in x, then offset in y. A bilinear sample
    is a product with a row of weights 1 - |distance| on either side, so the window needs no gather.
    """
    _, height, width, _ = flow.shape
    x = jnp.arange(width) + flow[..., 0]
    y = jnp.arange(height)[:, None] + flow[..., 1]
    offsets = jnp.arange(-radius, radius + 1)

    def weights(centre, size):
        distance = centre[..., None, None] + offsets[:, None] - jnp.arange(size)
        return jnp.maximum(1.0 - jnp.abs(distance), 0.0)

    found = []
    for level, correlation in enumerate(pyramid):
        of_x, of_y = (
            weights(c / 2**level, size) for c, size in ((x, correlation.shape[-1]), (y, correlation.shape[-2]))
        )
        rows = _product("nijkl,nijyk->nijyl", correlation, of_y)
        found.append(_product("nijyl,nijxl->nijxy", rows, of_x).reshape(*flow.shape[:-1], -1))
    return jnp.concatenate(found, axis=-1)


class MotionEncoder(nn.Module):
    """Correlation and flow to ``features`` channels, the last two of which are the flow itself."""

    features: int

    @nn.compact
    def __call__(self, flow, correlation):
        d = self.features
        c = nn.relu(conv(2 * d, 1, name="convc1")(correlation))
        c = nn.relu(conv(d + d // 2, 3, name="convc2")(c))
        f = nn.relu(conv(d, 7, name="convf1")(flow))
        f = nn.relu(conv(d // 2, 3, name="convf2")(f))
        both = nn.relu(conv(d - 2, 3, name="conv")(jnp.concatenate([c, f], axis=-1)))
        return jnp.concatenate([both, flow], axis=-1)


class ConvNextBlock(nn.Module):
    """A ConvNeXt block on 3 ``features`` channels and a 1x1 convolution to ``features``."""

    features: int

    @nn.compact
    def __call__(self, x):
        channels = x.shape[-1]
        h = conv(channels, 7, feature_group_count=channels, name="dwconv")(x)
        h = nn.LayerNorm(epsilon=1e-6, use_fast_variance=False, name="norm")(h)
        h = nn.gelu(nn.Dense(4 * self.features, name="pwconv1")(h), approximate=False)
        gamma = self.param("gamma", nn.initializers.constant(1e-6), (channels,))
        return conv(self.features, 1, name="final")(x + gamma * nn.Dense(channels, name="pwconv2")(h))


class Update(nn.Module):
    """The recurrent state after another look: ``net, context [N, h, w, features] -> net``."""

    features: int
    blocks: int

    @nn.compact
    def __call__(self, net, context, correlation, flow):
        motion = MotionEncoder(self.features, name="encoder")(flow, correlation)
        for i in range(self.blocks):
            net = ConvNextBlock(self.features, name=f"refine_{i}")(jnp.concatenate([net, context, motion], axis=-1))
        return net


class Head(nn.Module):
    """3x3 convolution, ReLU, convolution; their names are 0 and 2 in the published list."""

    hidden: int
    features: int
    size: int

    @nn.compact
    def __call__(self, x):
        return conv(self.features, self.size, name="2")(nn.relu(conv(self.hidden, 3, name="0")(x)))


def upsample(x, logits):
    """Eightfold: every fine pixel is a convex combination of its 3x3 coarse neighbours.

    Args:
      x: ``[N, h, w, C]``. logits: ``[N, h, w, 9 * 8 * 8]``: neighbour, row and column within a coarse pixel.

    Returns:
      ``[N, 8h, 8w, C]``. What lies outside counts as zero.
    """
    n, h, w, channels = x.shape
    shares = jax.nn.softmax(logits.reshape(n, h, w, 9, 8, 8), axis=3)
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    neighbours = jnp.stack([padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=3)
    return _product("nijkrs,nijkc->nirjsc", shares, neighbours).reshape(n, 8 * h, 8 * w, channels)
