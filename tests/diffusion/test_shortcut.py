"""Shortcut forcing against a flow that is known: normal data, along whose flow every step has a closed form.

Of data N(m, s^2) the flow takes z at tau to  m tau' + (q(tau') / q(tau)) (z - m tau)  at tau',
q(tau)^2 = (1 - tau)^2 + (s tau)^2.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.diffusion.forcing import Forcing, shortcut_forcing_loss
from prowl_jax.diffusion.shortcut import (
    Shortcut,
    bootstrap_loss,
    draw,
    draw_mixed,
    empirical_loss,
    mixed_loss,
    ramp,
    sample,
)

MEAN, SPREAD = 1.5, 0.4


def width(signal):
    return jnp.sqrt((1.0 - signal) ** 2 + (SPREAD * signal) ** 2)


def flow(z, start, end):
    return MEAN * end + width(end) / width(start) * (z - MEAN * start)


def exact(z, signal, length):
    """What a perfect network predicts: the clean point on the line through z and where the flow is after the step."""
    signal, length = signal[:, None], length[:, None]
    return z + (flow(z, signal, signal + length) - z) / length * (1.0 - signal)


def at_most(z, signal, length):
    """What a network that knows no lengths predicts: the mean of the clean points, right for infinitely short steps."""
    signal = signal[:, None]
    del length
    return MEAN + signal * SPREAD**2 / width(signal) ** 2 * (z - signal * MEAN)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    clean = jnp.asarray(MEAN + SPREAD * rng.normal(size=(512, 3)), jnp.float32)
    noise = jnp.asarray(rng.normal(size=(512, 3)), jnp.float32)
    length, signal = draw(jax.random.key(0), 512, 64, coarse=True)
    return clean, noise, signal, length


def test_along_a_known_flow_one_step_is_two_of_half_its_length(rows):
    losses = bootstrap_loss(exact, exact, *rows)
    assert losses.shape == (512,) and float(losses.max()) < 1e-9
    assert float(bootstrap_loss(at_most, exact, *rows).mean()) > 1e-3


def test_the_loss_is_what_its_formula_says(rows):
    clean, noise, signal, length = (np.asarray(x, np.float64) for x in rows)
    s, d = signal[:, None], length[:, None]

    def say(z, tau, step):
        return 0.3 * z + tau - 2.0 * step

    z = (1 - s) * noise + s * clean
    first = (say(z, s, d / 2) - z) / (1 - s)
    middle = z + d / 2 * first
    second = (say(middle, s + d / 2, d / 2) - middle) / (1 - s - d / 2)
    error = (say(z, s, d) - z) / (1 - s) - (first + second) / 2
    expected = (0.9 * signal + 0.1) * (1 - signal) ** 2 * (error**2).mean(-1)
    network = lambda z, tau, step: say(z, tau[:, None], step[:, None])  # noqa: E731
    np.testing.assert_allclose(bootstrap_loss(network, network, *rows), expected, rtol=2e-4, atol=1e-6)
    said = say(z, s, d)
    np.testing.assert_allclose(
        empirical_loss(network, *rows), (0.9 * signal + 0.1) * ((said - clean) ** 2).mean(-1), rtol=1e-4
    )


def test_no_gradient_reaches_the_teacher(rows):
    def of(own, theirs):
        return bootstrap_loss(
            lambda z, tau, d: own * exact(z, tau, d), lambda z, tau, d: theirs * exact(z, tau, d), *rows
        ).sum()

    to_own, to_teacher = jax.grad(of, (0, 1))(1.1, 0.9)
    assert abs(to_own) > 0 and to_teacher == 0


@pytest.mark.parametrize("steps", [1, 2, 8])
def test_an_exact_network_samples_the_data_in_any_number_of_steps(rows, steps):
    noise = rows[1]
    np.testing.assert_allclose(sample(exact, noise, steps), MEAN + SPREAD * noise, atol=2e-5)
    if steps < 8:  # without its lengths a network is off in few steps
        assert float(jnp.abs(sample(at_most, noise, steps) - (MEAN + SPREAD * noise)).max()) > 0.05


def test_lengths_are_powers_of_a_half_and_signals_lie_on_their_grid():
    length, signal = (np.asarray(x) for x in draw(jax.random.key(1), 6000, 8, coarse=True))
    assert set(length) == {1.0, 0.5, 0.25} and ((signal / length) % 1 == 0).all()
    assert (signal + length <= 1.0).all() and (signal >= 0).all()
    assert all(abs((length == d).mean() - 1 / 3) < 0.03 for d in set(length))
    assert all(abs((signal[length == 0.25] == s).mean() - 0.25) < 0.05 for s in (0, 0.25, 0.5, 0.75))
    length, _ = draw(jax.random.key(1), 5, 8)
    np.testing.assert_array_equal(length, 1 / 8)
    assert ramp(1.0) == pytest.approx(1.0) and ramp(0.0) == pytest.approx(0.1)
    for most, coarse in ((6, False), (0, False), (1, True)):
        with pytest.raises(ValueError, match="power of two"):
            draw(jax.random.key(0), 2, most, coarse)


def test_a_mixed_batch_has_either_loss_in_its_rows(rows):
    clean, noise, signal, length = rows
    mixed, found = mixed_loss(at_most, clean, noise, signal, length, 100)
    np.testing.assert_allclose(mixed[:100], bootstrap_loss(at_most, at_most, *(x[:100] for x in rows)), rtol=1e-4)
    np.testing.assert_allclose(mixed[100:], empirical_loss(at_most, *(x[100:] for x in rows)), rtol=1e-5)
    assert found.shape == clean.shape
    settings = Shortcut(most=8, share=0.25)
    length, signal = (np.asarray(x) for x in draw_mixed(jax.random.key(0), (40, 3), settings))
    assert length.shape == signal.shape == (40, 3)
    assert (length[10:] == 1 / 8).all() and (length[:10] > 1 / 8).all()
    with pytest.raises(ValueError, match="most"):
        Shortcut(most=6)


def test_chunks_have_steps_of_their_own_and_clean_ones_are_not_counted():
    """Latents of 2 chunks: a perfect network has no loss of longer steps; one that errs in clean chunks alone, none."""
    rng = np.random.default_rng(0)
    latents = jnp.asarray(MEAN + SPREAD * rng.normal(size=(64, 4, 1, 1, 3)), jnp.float32)
    told = []

    def network(z, sigma, length):
        told.append(len(z))
        chunks = z.reshape(len(z), 2, -1)
        flat = [x.reshape(-1, *x.shape[2:]) for x in (chunks, 1.0 - sigma, length)]
        said = exact(*flat).reshape(chunks.shape)
        return jnp.where((sigma > 0)[..., None], said, 99.0).reshape(z.shape)

    forcing, settings = Forcing(chunk=2, clean_prefix=1.0), Shortcut(most=16, share=0.5)
    loss, metrics = shortcut_forcing_loss(network, latents, jax.random.key(3), forcing, settings)
    assert told == [64, 32, 32]
    assert float(metrics["loss_coarse"]) < 1e-6 < float(metrics["loss_fine"]) < 1.0 and np.isfinite(loss)
