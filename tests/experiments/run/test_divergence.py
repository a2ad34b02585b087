"""Numbers that went wrong are told with what repeats them, never saved, and can be gone around."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.run import divergence
from experiments.run.directory import Run
from experiments.run.metrics_log import read_metrics
from experiments.stages.phase2 import parts
from experiments.torture import toy_training as toy
from prowl_jax.train.checkpoint import Checkpoints

STEPS = 12


def poisoned(bad, value=np.nan):
    """Batches of which those with an index in ``bad`` hold ``value``; also what was fetched."""

    def fetch(index):
        batch = toy.batch_of(index)
        if index in bad:
            batch[1, 2] = value
        return batch

    return fetch


def saved(run):
    return sorted(int(p.name) for p in run.checkpoints("toy").iterdir())


def test_a_bad_batch_stops_before_it_is_saved_and_is_named(tmp_path):
    run = Run(tmp_path, toy.config())
    with pytest.raises(divergence.BadNumbers) as caught:
        toy.stage(run, poisoned({6}), steps=STEPS)
    message = str(caught.value)
    assert message.startswith("toy: the loss is nan of step 7; its batch is drawn by (seed 3, index 6)")
    assert "fold_in(stage_key(config, 'toy'), 6)" in message and message.endswith("finite: ['batch']")
    assert saved(run) == [5] and [row["step"] for row in read_metrics(tmp_path)] == [2, 4, 5, 6]


def test_an_explosion_stops_as_well(tmp_path):
    run = Run(tmp_path, toy.config())
    with pytest.raises(divergence.BadNumbers, match="the loss is .*e.* of step 7; .*not finite: the loss alone"):
        toy.stage(run, poisoned({6}, 1e9), steps=STEPS)
    assert saved(run) == [5]


def test_an_update_that_spoils_the_state_is_seen_though_its_loss_was_fine(tmp_path):
    def step(state, batch, key):
        broken = jnp.where(state.step == 9, jnp.nan, 0.0)  # in the step before a checkpoint
        params = jax.tree.map(lambda w: w + broken, state.params)
        return type(state)(params, state.ema, state.opt_state, state.step + 1), {"loss": jnp.float32(1.0)}

    run = Run(tmp_path, toy.config())
    with pytest.raises(divergence.BadNumbers, match=r"the state is not finite .* of step 10; .*: \.params\['w'\]"):
        toy.stage(run, step_fn=jax.jit(step), steps=STEPS)
    assert saved(run) == [5]


def test_rewinding_goes_around_bad_batches_and_ends_where_a_run_without_them_does(tmp_path, capsys):
    """The unbroken run is given the same indices but for 6 and 8."""
    good = [i for i in range(STEPS + 2) if i not in (6, 8)]
    expected = toy.stage(Run(tmp_path / "good", toy.config()), lambda i: toy.batch_of(good[i]), steps=STEPS)
    run = Run(tmp_path / "bad", toy.config(on_nan="rewind"))
    state = toy.stage(run, poisoned({6, 8}), steps=STEPS)
    jax.tree.map(np.testing.assert_array_equal, state, expected)
    assert read_metrics(run.workdir) == read_metrics(tmp_path / "good")
    assert capsys.readouterr().out.count("going back to the last checkpoint") == 2
    with Checkpoints(run.checkpoints("toy")) as checkpoints:
        assert checkpoints.restore(state)[1] == {"skipped": [6, 8]}


def test_rewinding_ends_after_so_many_times_and_a_stopped_run_remembers(tmp_path):
    run = Run(tmp_path, toy.config(on_nan="rewind"))
    with pytest.raises(divergence.BadNumbers, match="index 13.*rewinds=2"):
        toy.stage(run, poisoned({6, 8, 13}), steps=STEPS)
    assert saved(run) == [5, 10]
    with pytest.raises(divergence.BadNumbers, match="index 12.*rewinds=2"):  # 6 and 8 are counted still
        toy.stage(run, poisoned({12}), steps=STEPS)


@given(skipped=st.sets(st.integers(0, 30)), count=st.integers(0, 30))
def test_the_draws_are_those_that_are_left(skipped, count):
    left = [i for i in range(100) if i not in skipped]
    assert divergence.draw_of(count, sorted(skipped)) == left[count]


def test_the_first_bad_array_is_found_among_all_kinds():
    tree = {"a": np.array([np.inf], np.float16), "b": jnp.array([jnp.nan], jnp.bfloat16), "i": np.arange(3), "n": None}
    assert divergence.first_bad(tree) == "['a']" and not divergence.all_finite(tree)
    assert divergence.first_bad({"b": tree["b"], "i": tree["i"]}) == "['b']"
    assert divergence.first_bad({"i": tree["i"]}) is None and divergence.all_finite({"i": tree["i"], "n": None})


def cycle_of(loss=1.0, theta=1.0):
    metrics = {"world_model_loss": loss, "pat_filled": 3.0}
    return metrics, {"theta": jnp.full(2, theta), "filled": jnp.ones(3, bool)}


@pytest.mark.parametrize(
    "broken, words",
    [
        ({"loss": np.nan}, "world_model_loss is nan in cycle 6; .* index 7.*: none that is kept"),
        ({"loss": 2e4}, "world_model_loss is 20000 in cycle 6"),
        ({"theta": np.inf}, r"the state is not finite after the updates in cycle 6; .*: \['theta'\]"),
    ],
)
def test_a_broken_cycle_is_refused_with_what_repeats_it(broken, words):
    """Cycle 6 is the sixth; two indices before it were left out, so that it draws by the eighth."""
    parts.check_cycle(toy.config(), "phase2/prowl", 5, *cycle_of(), [0, 3])
    with pytest.raises(divergence.BadNumbers, match=words) as caught:
        parts.check_cycle(toy.config(), "phase2/prowl", 5, *cycle_of(**broken), [0, 3])
    assert caught.value.draw == 7 and caught.value.skipped == [0, 3]
