"""IMPALA's convolutional encoder as VPT has it: norm, then the linear map, then ReLU, everywhere.

Source: IMPALA (arXiv 1802.01561, figure 3) and the public code of VPT, openai/Video-Pre-Training (MIT).
"""

import functools

import flax.linen as nn
import jax.numpy as jnp

from prowl_jax.models.cpu.convolution import conv

# flax's own epsilon is 1e-6, and its fast variance, E[x^2] - E[x]^2, is noisy where the mean is large.
LayerNorm = functools.partial(nn.LayerNorm, epsilon=1e-5, use_fast_variance=False)
GroupNorm = functools.partial(nn.GroupNorm, num_groups=1, epsilon=1e-5, use_fast_variance=False)


class ConvUnit(nn.Module):
    """GroupNorm over all of a picture, 3x3 convolution, ReLU: ``[N, H, W, C] -> [N, H, W, features]``.

    The convolution has a bias where there is no norm before it, and only there.
    """

    features: int
    norm: bool = True

    @nn.compact
    def __call__(self, x):
        if self.norm:
            x = GroupNorm(name="norm")(x)
        layer = nn.Conv(
            self.features, (3, 3), padding=1, use_bias=not self.norm, conv_general_dilated=conv, name="layer"
        )
        return nn.relu(layer(x))


class DenseUnit(nn.Module):
    """LayerNorm, linear map without bias, ReLU: ``[..., D] -> [..., features]``."""

    features: int

    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Dense(self.features, use_bias=False, name="layer")(LayerNorm(name="norm")(x)))


class Residual(nn.Module):
    """``x + conv1(conv0(x))``."""

    @nn.compact
    def __call__(self, x):
        channels = x.shape[-1]
        return x + ConvUnit(channels, name="conv1")(ConvUnit(channels, name="conv0")(x))


class Stack(nn.Module):
    """Convolution, pooling to half the size, norm, two residual blocks."""

    channels: int
    first_norm: bool = True

    @nn.compact
    def __call__(self, x):
        x = ConvUnit(self.channels, self.first_norm, name="firstconv")(x)
        # One row and column of padding on both sides; "SAME" would pad only the far one.
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        x = GroupNorm(name="n")(x)
        for i in range(2):
            x = Residual(name=f"blocks_{i}")(x)
        return x


class ImpalaCNN(nn.Module):
    """Pictures float ``[N, H, W, C]`` -> features ``[N, features]``.

    Attributes:
      channels: of each stack (three, in VPT), which halves the picture.
      features: width of the output. first_norm: whether the first convolution has a norm before it.
    """

    channels: tuple
    features: int = 256
    first_norm: bool = False

    @nn.compact
    def __call__(self, x):
        for i, channels in enumerate(self.channels):
            x = Stack(channels, self.first_norm or i > 0, name=f"stacks_{i}")(x)
        # Channel, row, column: the order of the published weights of ``dense``.
        x = jnp.moveaxis(x, -1, 1).reshape(x.shape[0], -1)
        return DenseUnit(self.features, name="dense")(x)
