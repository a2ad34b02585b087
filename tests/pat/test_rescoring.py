"""Who is scored anew, against the sentence that says so."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prowl_jax.pat import buffer as pat
from prowl_jax.pat.rescoring import Rescoring, queue

CAPACITY, NOW = 6, 9
queue = jax.jit(queue, static_argnames="rescoring")


def buffer_of(last_sampled, scored, filled):
    empty = pat.init(jax.ShapeDtypeStruct((), jnp.int32), CAPACITY)
    fields = {"last_sampled": np.int32(last_sampled), "scored": np.int32(scored), "filled": np.array(filled)}
    return dataclasses.replace(empty, **{name: jnp.asarray(value) for name, value in fields.items()})


def column(elements):
    return st.lists(elements, min_size=CAPACITY, max_size=CAPACITY)


@settings(deadline=None, max_examples=80)
@given(column(st.integers(0, NOW)), column(st.integers(0, NOW)), column(st.booleans()))
def test_the_queue_is_sampled_then_oldest_and_only_what_is_due_counts(last_sampled, scored, filled):
    buffer = buffer_of(last_sampled, scored, filled)
    slots, count = queue(buffer, NOW, Rescoring("due", age=4))
    sampled = [last >= score for last, score in zip(last_sampled, scored, strict=True)]
    there = [i for i in range(CAPACITY) if filled[i]]
    assert list(slots[: len(there)]) == sorted(there, key=lambda i: (not sampled[i], scored[i], i))
    assert sorted(map(int, slots)) == list(range(CAPACITY))
    # Scored before updates 6 to 9 and any earlier one: more than four cycles of updates ago.
    due = [i for i in range(CAPACITY) if filled[i] and (sampled[i] or scored[i] <= 5)]
    assert set(map(int, slots[:count])) == set(due)
    assert queue(buffer, NOW, Rescoring("due", age=4, rows=2))[1] == min(2, len(due))


def test_all_is_every_entry_and_so_is_an_age_of_zero():
    buffer = buffer_of([0] * 6, [9, 9, 8, 9, 9, 1], [1, 0, 1, 1, 0, 1])
    for rescoring in (Rescoring(), Rescoring("due", age=0)):
        slots, count = queue(buffer, NOW, rescoring)
        assert count == 4 and set(map(int, slots[:4])) == {0, 2, 3, 5}


def test_so_many_are_scored_anew_at_most():
    """Whole batches of what is due, never more than there is room for."""
    assert Rescoring().most(256, 32) == 256 == Rescoring("due").most(256, 32)
    assert Rescoring("due", rows=64).most(256, 32) == 64 and Rescoring("due", rows=65).most(256, 32) == 96
    assert Rescoring("due", rows=64).most(40, 32) == 40 and Rescoring(rows=64).most(256, 32) == 256


@pytest.mark.parametrize("wrong", [{"kind": "some"}, {"age": -1}, {"rows": -1}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Rescoring(**wrong)
