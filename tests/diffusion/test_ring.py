"""The ring of keys and values against a plain list that forgets its oldest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prowl_jax.diffusion import ring

TOKENS = 2


def remembered(numbers):
    """Keys and values of two blocks, [1, latents TOKENS, 1, 3], in which each latent's number stands."""
    each = np.repeat(np.asarray(numbers, np.float32), TOKENS)[None, :, None, None] * np.ones(3, np.float32)
    return ((each, -each), (each + 0.25, each + 0.5))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 9), st.data())
def test_it_holds_the_last_latents_and_shows_no_others(chunk, chunks, writes, data):
    length = chunk * chunks
    first = chunk * data.draw(st.integers(1, chunks))
    ours, theirs = ring.start(remembered(range(first)), first, length), list(range(first))
    for _ in range(writes):
        new = range(len(theirs), len(theirs) + chunk)
        ours, theirs = ring.write(ours, remembered(new)), [*theirs, *new]
    assert int(ours.written) == len(theirs)
    seen = np.asarray(ring.mask(ours, chunk))
    assert seen.shape == (chunk, length + chunk) and seen[:, length:].all()
    kept = theirs[-length:]
    for row in seen[:, :length]:
        assert row.sum() == len(kept)
        for block, expected in zip(ring.memory(ours), remembered(kept), strict=True):
            for x, y in zip(block, expected, strict=True):
                shown = np.asarray(x)[:, np.repeat(row, TOKENS)]
                np.testing.assert_array_equal(np.sort(shown, axis=1), np.sort(y, axis=1))
    slots = np.asarray(ours.keys_values[0][0])[0, :, 0, 0, 0]
    np.testing.assert_array_equal(slots[[n % length for n in kept]], kept)


def test_one_program_writes_every_chunk():
    write = jax.jit(ring.write)
    ours = ring.start(remembered(range(2)), 2, 6)
    for i in range(2, 20, 2):
        ours = write(ours, remembered(range(i, i + 2)))
    assert write._cache_size() == 1


def test_its_memory_is_what_the_formula_says():
    depth, latents, tokens, heads, width = 3, 4, 5, 2, 16
    memory = tuple(2 * (jnp.zeros((1, tokens, heads, width // heads)),) for _ in range(depth))
    leaves = jax.tree.leaves(ring.start(memory, 1, latents).keys_values)
    assert sum(x.nbytes for x in leaves) == 2 * depth * latents * tokens * width * 4


@pytest.mark.parametrize("latents", [0, 7])
def test_a_start_that_does_not_fit_is_refused(latents):
    with pytest.raises(ValueError, match=f"a ring of 6 latents cannot start with {latents}; give it 1 to 6"):
        ring.start(remembered(range(latents)), latents, 6)
