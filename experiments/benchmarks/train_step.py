"""The world model's training step, against PyTorch's and against the device's own matrix products.

2.8 M parameters (width 192, 4 layers, 8 heads), 16 clips of 128 tokens a step: 4 latents of 4 x 8 tokens,
a noise level each. (2,048 tokens as one sequence would be 64 GFLOP a step, more than 2 cores do in the
third of a second that such steps took.) On a GPU also 300 M parameters with bfloat16 products,
cudnn attention and remat.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import flops, timing, wan_pytorch
from experiments.benchmarks.timing import Row
from experiments.configs import quickstart
from experiments.stages import build
from experiments.stages.world_model import world_model_optimizer
from prowl_jax.diffusion.forcing import Forcing
from prowl_jax.models.cpu.convolution import conv
from prowl_jax.models.dit.dit import DiT
from prowl_jax.models.unet.warp import warp
from prowl_jax.models.world_model import WorldModel
from prowl_jax.train.state import count, init_state, make_optimizer
from prowl_jax.train.world_model import make_loss, make_train_step
from prowl_jax.types import Batch

ACTION_SIZES = (3, 3, 3, 11)
SMALL = DiT(channels=8, width=192, depth=4, heads=8, ffn=768, action_sizes=ACTION_SIZES, chunk=1)
LARGE = DiT(
    channels=16, width=1024, depth=18, heads=8, ffn=4096, action_sizes=ACTION_SIZES, chunk=3,
    attention="cudnn", dtype=jnp.dtype("bfloat16"), remat=True,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is measured.

    Attributes:
      small, large: ``(DiT, shape)``; a shape is clips, latents, and their height and width, of which 2 x 2 are a token.
      square: side of the matrices whose product is the limit.
      variant: of the quick start.
      images: of the convolution: how many, their side and channels.
    """

    small: tuple = (SMALL, (16, 4, 8, 16))
    large: tuple = (LARGE, (16, 6, 32, 32))
    square: int = 2048
    variant: str = "scratch"
    images: tuple = (32, 32, 64)


def rows(settings, sizes=Sizes()):
    """The rows ``train_step_...``, ``clips_per_s`` and of the U-Net's parts; ``settings.quick`` changes no shape."""
    yield from _against_pytorch(settings, sizes)
    yield from _quick_start(settings, sizes)
    yield from _convolution(settings, sizes)
    yield from _warp(settings, sizes)
    yield from _large(settings, sizes)


class Step:
    """A compiled training step of ``dit`` at ``shape``, called without arguments on its own state.

    Attributes:
      flops: of its matrix products. compile_s: seconds. memory: the compiler's analysis.
    """

    def __init__(self, dit, shape, forcing, optimizer, ema_decay=0.99):
        batch, latents, *grid = shape
        rng = np.random.default_rng(0)
        z = rng.normal(size=(*shape, dit.channels)).astype(np.float32)
        actions = np.zeros((batch, 1 + dit.action_frames * (latents - 1), len(dit.action_sizes)), np.int32)
        self.batch, self.key = jax.device_put((Batch(z, actions), jax.random.key(1)))
        led_to = np.zeros((1, latents, dit.action_frames, len(dit.action_sizes)), np.int32)
        sigma = np.zeros((1, latents // dit.chunk), np.float32)
        shapes = jax.eval_shape(lambda: dit.init(jax.random.key(0), z[:1], sigma, led_to)["params"])
        params = timing.random_like(shapes)
        self.state, self.parameters = init_state(params, optimizer), count(params)
        step = make_train_step(make_loss(WorldModel(dit, None), forcing), optimizer, ema_decay=ema_decay)
        self._step, self.compile_s = timing.compiled(step, self.state, self.batch, self.key)
        self.flops = flops.TRAINING * flops.dit_forward(dit, batch, latents, *grid)
        self.memory = self._step.memory_analysis()

    def __call__(self, batch=None):
        """One step on its own clips, or on ``batch``; returns the loss."""
        batch = self.batch if batch is None else batch
        self.state, metrics = self._step(self.state, batch, self.key)
        return metrics["loss"]


def matmul_rate(dtype, square):
    """(a call of one square matrix product, its FLOPs): the limit of a step's rate."""
    a = jnp.ones((square, square), dtype)
    return functools.partial(jax.jit(jnp.matmul), a, a), 2 * square**3


def _against_pytorch(settings, sizes):
    dit, shape = sizes.small
    ours = Step(dit, shape, Forcing(chunk=1), make_optimizer(1e-3, 10_000, weight_decay=0.01))
    product, product_flops = matmul_rate(jnp.float32, sizes.square)
    rivals, missing = {"ours": ours, "product": product}, wan_pytorch.missing()
    if missing is None:
        rivals["pytorch"], rival_flops, rival_parameters = wan_pytorch.make_step(dit, *shape)
    times = timing.alternate(rivals, settings.repeats)
    rate = product_flops / times["product"]
    if missing is None:
        against = (
            f"diffusers.WanTransformer3DModel of {rival_parameters / 1e6:.2f} M parameters, "
            f"{1e3 * times['pytorch']:.0f} ms, "
            f"{100 * rival_flops / times['pytorch'] / rate:.0f} % of the product's rate; limit 0.9"
        )
        ratio = times["ours"] / times["pytorch"]
        yield Row("train_step_over_pytorch", 1e3 * times["ours"], "ms", against, ratio, settings.repeats)
    else:
        yield Row.not_run("train_step_over_pytorch", missing)
    product = f"a float32 product of {sizes.square} x {sizes.square}"
    yield _mfu("train_step_mfu", ours, times["ours"], rate, product, settings)
    yield timing.compile_row("train_step", ours.compile_s)


def _mfu(name, step, seconds, rate, product, settings):
    share = step.flops / seconds / rate
    against = (
        f"{rate / 1e9:,.0f} GFLOP/s of {product}; {step.parameters / 1e6:.2f} M parameters, "
        f"{step.flops / 1e9:,.1f} GFLOP a step"
    )
    return Row(name, share, "share", against, share, settings.repeats)


@functools.cache
def quick_start_step(variant="scratch"):
    """The step of the quick start's phase 1."""
    config = quickstart.get_config(variant)
    w, model = config.world_model, build.make_world_model(config)
    shape = (w.batch, w.window, config.env.frame_height // 8, config.env.frame_width // 8)
    optimizer = world_model_optimizer(config)
    return Step(model.dit, shape, build.make_forcing(config), optimizer, w.ema_decay)


def _quick_start(settings, sizes):
    """Clips that phase 1 of the quick start trains on in a second."""
    w, step = quickstart.get_config(sizes.variant).world_model, quick_start_step(sizes.variant)
    seconds = timing.alternate({"step": step}, settings.repeats)["step"]
    against = f"phase 1 of the quick start, {1e3 * seconds:.1f} ms a step of {w.batch} clips"
    yield Row("clips_per_s", w.batch / seconds, "clips/s", against, None, settings.repeats)
    yield timing.compile_row("clips_per_s", step.compile_s)


def _convolution(settings, sizes):
    """A 3x3 convolution of the U-Net's kind with both of its gradients: its rate over the product's."""
    count, side, channels = sizes.images
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(count, side, side, channels)), jnp.float32)
    kernel = jnp.asarray(0.02 * rng.normal(size=(3, 3, channels, channels)), jnp.float32)
    gradients = jax.jit(jax.grad(lambda x, kernel: jnp.sum(conv(x, kernel, (1, 1), "SAME") ** 2), (0, 1)))
    product, product_flops = matmul_rate(jnp.float32, sizes.square)
    times = timing.alternate({"ours": lambda: gradients(x, kernel), "product": product}, settings.repeats)
    rate = flops.TRAINING * 2 * count * side**2 * 9 * channels**2 / times["ours"]
    limit = product_flops / times["product"]
    against = (
        f"{rate / 1e9:,.0f} of {limit / 1e9:,.0f} GFLOP/s of a float32 product of {sizes.square} x {sizes.square}; "
        f"3x3, {count} images of {side} x {side} x {channels}, with both gradients"
    )
    yield Row("convolution_share", rate / limit, "share", against, rate / limit, settings.repeats)


def _warp(settings, sizes):
    """The gradient of the U-Net's warp by its flow, by its own rule, over that which JAX derives of the same sum."""
    count, side, _ = sizes.images
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=(count, 2 * side, 2 * side, 3)), jnp.float32)
    flow = jnp.asarray(3.0 * rng.normal(size=(*image.shape[:3], 2)), jnp.float32)

    def gradient(function):
        return functools.partial(jax.jit(jax.grad(lambda flow: jnp.sum(function(image, flow) ** 2))), flow)

    times = timing.alternate({"ours": gradient(warp), "derived": gradient(warp.fun)}, settings.repeats)
    against = f"derived by JAX: {1e3 * times['derived']:.1f} ms; {count} images of {2 * side} x {2 * side}"
    ratio = times["derived"] / times["ours"]
    yield Row("warp_gradient_speedup", 1e3 * times["ours"], "ms", against, ratio, settings.repeats)


def _large(settings, sizes):
    """300 M parameters in bfloat16: what a GPU is for."""
    names = ("train_step_bf16_mfu", "train_step_bf16_memory_gb", "train_step_bf16_compile_s")
    if jax.default_backend() != "gpu":
        yield from (Row.not_run(name, "no GPU") for name in names)
        return
    dit, shape = sizes.large
    step = Step(dit, shape, Forcing(chunk=dit.chunk), make_optimizer(1e-4, 10_000, weight_decay=0.01))
    product, product_flops = matmul_rate(jnp.bfloat16, sizes.square)
    times = timing.alternate({"ours": step, "product": product}, settings.repeats)
    rate, product = product_flops / times["product"], f"a bfloat16 product of {sizes.square} x {sizes.square}"
    yield _mfu(names[0], step, times["ours"], rate, product, settings)
    m = step.memory
    planned = m.argument_size_in_bytes + m.output_size_in_bytes - m.alias_size_in_bytes + m.temp_size_in_bytes
    peak = jax.devices()[0].memory_stats()["peak_bytes_in_use"]
    against = f"{planned / 1e9:.3g} GB by the compiler's analysis"
    yield Row(names[1], peak / 1e9, "GB", against, peak / planned, settings.repeats)
    yield Row(names[2], step.compile_s, "s", repeats=1)
