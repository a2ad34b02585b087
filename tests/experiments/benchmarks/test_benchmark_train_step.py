"""The training step's benchmark: FLOPs by formula against the compiler's count, and the names of the rows."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks import flops, timing, train_step, wan_pytorch
from prowl_jax.diffusion.forcing import Forcing
from prowl_jax.models.dit.dit import DiT
from prowl_jax.train.state import make_optimizer

TINY = DiT(channels=3, width=24, depth=1, heads=2, ffn=32, action_sizes=(3, 5), chunk=2, frequency_width=16)
TINY_SHAPE = (2, 4, 4, 4)


def compiled_flops(dit, shape):
    """Of one forward pass, as XLA counts them."""
    batch, latents, *_ = shape
    z = jnp.zeros((*shape, dit.channels))
    sigma = jnp.zeros((batch, latents // dit.chunk))
    led_to = jnp.zeros((batch, latents, dit.action_frames, len(dit.action_sizes)), jnp.int32)
    params = jax.eval_shape(dit.init, jax.random.key(0), z, sigma, led_to)
    lowered = jax.jit(lambda p: dit.apply(p, z, sigma, led_to)[0]).lower(params)
    return lowered.cost_analysis()["flops"]


@pytest.mark.parametrize("frames, chunk", [(1, 1), (4, 3)])
def test_the_formula_is_the_compilers_count(frames, chunk):
    """Products are nearly all of it where the model is wide: norms and softmax grow more slowly."""
    dit = DiT(
        channels=8, width=384, depth=1, heads=4, ffn=1536, action_sizes=(3, 5), chunk=chunk, action_frames=frames
    )
    shape = (2, 6, 8, 8)
    assert flops.dit_forward(dit, *shape) == pytest.approx(compiled_flops(dit, shape), rel=0.03)


def test_a_step_is_three_forward_passes():
    """Of its products; what surrounds them counts too, and the first layer's input needs no gradient."""
    dit = DiT(channels=4, width=192, depth=2, heads=4, ffn=768, action_sizes=(3,), chunk=1)
    step = train_step.Step(dit, (2, 2, 8, 8), Forcing(chunk=1), make_optimizer(1e-3, 10))
    forward = compiled_flops(dit, (2, 2, 8, 8))
    assert step.flops == pytest.approx(3 * forward, rel=0.05)
    losses = [float(step()) for _ in range(3)]
    assert np.isfinite(losses).all() and int(step.state.step) == 3 and step.compile_s > 0


def test_wans_formula_is_pytorchs_count():
    pytest.importorskip("diffusers")
    counter = pytest.importorskip("torch.utils.flop_counter")
    dit, shape = dataclasses.replace(TINY, width=192, ffn=768, depth=2), (2, 4, 4, 4)
    step, total, parameters = wan_pytorch.make_step(dit, *shape)
    assert parameters > 0
    with counter.FlopCounterMode(display=False) as count:
        step()
    # PyTorch does not count its CPU attention, nor needs the inputs of the first layers a gradient.
    assert total == pytest.approx(count.get_total_flops(), rel=0.04)


ROWS = (
    "train_step_over_pytorch",
    "train_step_mfu",
    "train_step_compile_s",
    "clips_per_s",
    "clips_per_s_compile_s",
    "convolution_share",
    "warp_gradient_speedup",
    "train_step_bf16_mfu",
    "train_step_bf16_memory_gb",
    "train_step_bf16_compile_s",
)


def test_every_row_is_there_and_says_what_is_missing(monkeypatch):
    small = (dataclasses.replace(TINY, chunk=1), TINY_SHAPE)
    sizes = train_step.Sizes(small, large=(TINY, TINY_SHAPE), square=64, variant="tiny", images=(2, 8, 4))
    monkeypatch.setattr(wan_pytorch, "missing", lambda: "no torch: pip install -r requirements-parity.txt")
    rows = {row.name: row for row in train_step.rows(timing.Settings(quick=True, repeats=10), sizes)}
    assert tuple(rows) == ROWS
    assert rows["train_step_over_pytorch"].value is None
    assert "requirements-parity.txt" in rows["train_step_over_pytorch"].against
    assert rows["train_step_mfu"].value > 0 and rows["train_step_mfu"].repeats == 10
    assert rows["clips_per_s"].value > 0
    if jax.default_backend() != "gpu":
        assert rows["train_step_bf16_mfu"].against == "not run: no GPU"


@pytest.mark.parametrize("name", ["small", "large"])
def test_the_sizes_are_what_they_are_called(name):
    dit, (batch, latents, height, width) = getattr(train_step.Sizes(), name)
    z = jnp.zeros((1, latents, height, width, dit.channels))
    led_to = jnp.zeros((1, latents, 1, 4), jnp.int32)
    plain = dataclasses.replace(dit, attention="einsum")
    params = jax.eval_shape(plain.init, jax.random.key(0), z, jnp.zeros((1, latents // dit.chunk)), led_to)
    millions = sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6
    if name == "small":
        assert millions == pytest.approx(2.8, abs=0.05) and batch * latents * (height // 2) * (width // 2) == 16 * 128
    else:
        assert millions >= 300
