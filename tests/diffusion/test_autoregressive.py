"""Frames predicted one after the other in training: which context, which action, which level, and what counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from prowl_jax.diffusion.autoregressive import FrameLevels, autoregressive_loss

KEY = jax.random.key(0)
CLEAN = FrameLevels(context_share=0.0)


def square(xhat, real, sigma, extra):
    return jnp.square(xhat - real).mean((1, 2, 3))


def run(denoise, latents, actions, levels=CLEAN, error=square, context=2, shown=lambda x: x, **more):
    return autoregressive_loss(
        denoise, latents, actions, KEY, context=context, levels=levels, error=error,
        auxiliary=lambda extra, real: jnp.zeros(len(real)), shown=shown, **more,
    )  # fmt: skip


def test_levels_are_the_mixture_that_is_said():
    levels = FrameLevels(pure=0.3, mean=0.5, std=0.8)
    drawn = np.asarray(levels.frame(KEY, 20000))
    assert (drawn == 1.0).mean() == pytest.approx(0.3, abs=0.02)
    logits = np.log(drawn[drawn < 1] / (1 - drawn[drawn < 1]))
    assert stats.kstest(logits, stats.norm(0.5, 0.8).cdf).pvalue > 1e-3
    blur = np.asarray(FrameLevels(context_share=0.5, context_noise=0.3).context(KEY, 20000))
    assert (blur == 0).mean() == pytest.approx(0.5, abs=0.02)
    assert stats.kstest(blur[blur > 0], stats.uniform(0, 0.3).cdf).pvalue > 1e-3


def test_own_answers_take_the_place_of_real_frames_and_actions_lead():
    """Frame t is t everywhere; the denoiser answers with -100 - t and says what it saw."""
    latents = jnp.broadcast_to(jnp.arange(6.0)[None, :, None, None, None], (2, 6, 1, 1, 1))
    actions = jnp.broadcast_to(jnp.arange(6)[None, :, None], (2, 6, 1))
    seen = []

    def denoise(z, sigma, context, context_sigma, led):
        jax.debug.callback(lambda c, a: seen.append((c[0, :, 0, 0, 0].tolist(), a[0, :, 0].tolist())), context, led)
        return -100.0 - led[:, -1, 0][:, None, None, None] * jnp.ones_like(z), None

    jax.block_until_ready(run(denoise, latents, actions))
    jax.effects_barrier()
    assert seen == [
        ([0.0, 1.0], [0, 1]),
        ([1.0, -101.0], [1, 2]),
        ([-101.0, -102.0], [2, 3]),
        ([-102.0, -103.0], [3, 4]),
    ]


@pytest.mark.parametrize(
    "own, expected",
    [
        (1, [[0, 1], [1, 2], [2, 3], [3, 4]]),
        (2, [[0, 1], [1, -9], [2, 3], [3, -9]]),
        (4, [[0, 1], [1, -9], [-9, -9], [-9, -9]]),
    ],
)
def test_the_context_is_real_again_after_so_many_own_frames(own, expected):
    """Frame t is t everywhere, an answer is -9: what is seen before frames 2 to 5?"""
    latents = jnp.broadcast_to(jnp.arange(6.0)[None, :, None, None, None], (2, 6, 1, 1, 1))
    seen = []

    @jax.jit
    def loss(own):
        def denoise(z, sigma, context, context_sigma, led):
            jax.debug.callback(lambda c: seen.append(c[0, :, 0, 0, 0].tolist()), context)
            return jnp.full_like(z, -9.0), None

        return run(denoise, latents, jnp.zeros((2, 6, 1), jnp.int32), own=own)[0]

    jax.block_until_ready(loss(jnp.int32(own)))
    jax.effects_barrier()
    assert seen == expected


@pytest.mark.parametrize(
    "own, expected",
    [
        (None, ([[0, 1], [1, -8], [-8, -7], [-7, -6]], [1, 2, 3])),
        (2, ([[0, 1], [1, -8], [2, 3], [3, -6]], [1, 3])),
        (1, ([[0, 1], [1, 2], [2, 3], [3, 4]], [])),
    ],
)
def test_what_follows_is_another_s_where_one_is_given_and_is_made_only_where_it_is_seen(own, expected):
    """Frame t is t, an answer is -99; what follows an action t is t - 9."""
    latents = jnp.broadcast_to(jnp.arange(6.0)[None, :, None, None, None], (2, 6, 1, 1, 1))
    actions = jnp.broadcast_to(jnp.arange(6)[None, :, None], (2, 6, 1))
    seen, made = [], []

    def denoise(z, sigma, context, context_sigma, led):
        jax.debug.callback(lambda c: seen.append(c[0, :, 0, 0, 0].tolist()), context)
        return jnp.full_like(z, -99.0), None

    def follow(context, led, key):
        jax.debug.callback(lambda a: made.append(int(a)), led[0, -1, 0])
        return jnp.ones_like(context[:, -1]) * (led[:, -1, 0] - 9.0)[:, None, None, None]

    jax.block_until_ready(run(denoise, latents, actions, own=own, follow=follow))
    jax.effects_barrier()
    assert (seen, made) == expected


def test_no_gradient_flows_through_what_follows():
    def loss(parameter):
        def denoise(z, sigma, context, context_sigma, led):
            return parameter * context[:, -1], None

        follow = lambda context, led, key: parameter * context[:, -1]  # noqa: E731
        return run(denoise, jnp.ones((2, 4, 1, 1, 1)), jnp.zeros((2, 4, 1), jnp.int32), follow=follow)[0]

    assert float(jax.grad(loss)(3.0)) == pytest.approx(((3 - 1) * 2 + (9 - 1) * 2 * 3) / 2)


def test_no_gradient_flows_through_what_was_shown():
    latents = jnp.ones((2, 4, 1, 1, 1))

    def loss(parameter):
        def denoise(z, sigma, context, context_sigma, led):
            return parameter * context[:, -1], None

        return run(denoise, latents, jnp.zeros((2, 4, 1), jnp.int32))[0]

    # Answers are p, p^2 with contexts 1 and p held: d/dp of ((p - 1)^2 + (p * c - 1)^2) / 2 at p = 3 with c = 3.
    assert float(jax.grad(loss)(3.0)) == pytest.approx(((3 - 1) * 2 + (9 - 1) * 2 * 3) / 2)


def test_the_loss_is_the_weighted_error_and_a_perfect_answer_costs_nothing():
    latents = jax.random.normal(KEY, (4, 5, 2, 2, 3))
    actions = jnp.zeros((4, 5, 1), jnp.int32)
    twice = lambda *answer: 2.0 * square(*answer)  # noqa: E731
    off, metrics = run(lambda z, *_: (jnp.zeros_like(z), None), latents, actions, error=twice)
    assert float(off) == pytest.approx(2 * float(jnp.square(latents[:, 2:]).mean()), rel=1e-5)
    assert float(metrics["loss"]) == float(off)

    levels = FrameLevels(pure=0.0, context_share=0.0)

    def cheat(z, sigma, context, context_sigma, led):  # z = (1 - s) x + s eps, and x is a constant
        return jnp.ones_like(z), None

    right, _ = run(cheat, jnp.ones((4, 5, 2, 2, 3)), actions, levels)
    assert float(right) == 0.0


def test_a_clip_as_short_as_its_context_is_refused():
    with pytest.raises(ValueError, match="nothing to predict after a context of 2"):
        run(lambda z, *_: (z, None), jnp.zeros((1, 2, 1, 1, 1)), jnp.zeros((1, 2, 1), jnp.int32))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"pure": 1.5}, "pure=1.5 is not a share within 0..1"),
        ({"std": 0.0}, "std=0.0 is not a number above 0"),
        ({"lowest": 0.0}, "lowest=0.0 is not a level above 0 and below 1"),
        ({"context_noise": -0.1}, "context_noise=-0.1 is not a share within 0..1"),
    ],
)
def test_levels_that_are_none_are_refused(wrong, said):
    with pytest.raises(ValueError, match=f"^FrameLevels.{said}$"):
        FrameLevels(**wrong)
