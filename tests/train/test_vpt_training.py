"""A VPT policy in place of the small one: acting, behaviour cloning and KL-anchored PPO take it as it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.envs.base import Step
from prowl_jax.methods.acting import collect, make_act
from prowl_jax.models.policies.vpt_policy import VPTNetwork, VPTPolicy
from prowl_jax.rl.ppo import PPOConfig
from prowl_jax.train import adversary, behaviour
from prowl_jax.train.state import init_state, make_optimizer
from prowl_jax.types import Clip

# One stack of the CNN instead of three compiles in a third of the time.
POLICY = VPTPolicy(VPTNetwork((4,), hidden=16, heads=2, blocks=1, kept=3, buttons=4, camera=3, image=8))
ROWS, TIME = 4, 5


class Flicker:
    """Four worlds of light and dark pictures; in row 0 an episode ends at step 3."""

    num_envs = ROWS

    def reset(self, seeds):
        self.rng, self.t = np.random.default_rng(seeds), 0
        return self._see()

    def step(self, actions):
        assert actions.shape == (ROWS, 2) and (actions < [4, 3]).all()
        self.t += 1
        return self._see()

    def _see(self):
        done = np.array([self.t == 3, False, False, False])
        return Step(self.rng.integers(0, 256, (ROWS, 8, 8, 3)).astype(np.uint8), done, {})


@pytest.fixture(scope="module")
def params(random_params):
    params = random_params(POLICY.init, (8, 8, 3))
    statistics = {"running_mean": [0.7], "running_mean_sq": [1.9], "debiasing_term": 0.6}
    params["value_head"]["normalizer"] = {k: np.float32(v) for k, v in statistics.items()}
    return params


ACT = make_act(POLICY)


@pytest.fixture(scope="module")
def trajectory(params):
    found, _ = collect(Flicker(), ACT, POLICY, params, jax.random.key(0), seeds=[7], length=TIME)
    return found


def unchanged(before, after):
    """Paths of the parameters that are what they were, and of all."""
    same = jax.tree.map(np.array_equal, before, after)
    leaves = {jax.tree_util.keystr(path): is_same for path, is_same in jax.tree_util.tree_leaves_with_path(same)}
    return {path for path, is_same in leaves.items() if is_same}, set(leaves)


def test_behaviour_cloning_learns_a_rule_of_the_past(params):
    """Buttons: is the frame bright? Camera: was the one before (0 where there is none)?"""
    light = np.random.default_rng(0).integers(0, 2, (32, 4))
    frames = np.broadcast_to(30 + 190 * light[..., None, None, None], (32, 4, 8, 8, 3)).astype(np.uint8)
    frames = frames + np.arange(8, dtype=np.uint8)[:, None]  # a plain picture is all the same after a norm
    past = np.pad(light[:, :-1], ((0, 0), (1, 0)))
    clip = Clip(frames, np.stack([light, past], axis=-1).astype(np.int32))
    optimizer = make_optimizer(1e-2, 100)
    step = behaviour.make_train_step(POLICY, optimizer, ema_decay=0.9)
    state, losses = init_state(params, optimizer), []
    for _ in range(100):
        state, metrics = step(state, clip, jax.random.key(0))
        losses.append(float(metrics["loss"]))
    # Without a memory the camera alone costs 3/4 log 2 = 0.52.
    assert losses[-1] < 0.4 < losses[0], losses[::10]
    assert step._cache_size() == 1
    still, paths = unchanged(params, state.params)
    # Cloning has no value; the normaliser's statistics move by nothing but their own update.
    assert still == {path for path in paths if "'value_head'" in path}


def test_kl_anchored_ppo(params, trajectory):
    assert trajectory.first.sum() == ROWS + 1 and not trajectory.valid[0] and ACT._cache_size() == 1
    settings = adversary.Adversary(1e-2, ppo=PPOConfig(kl_cost=0.1), epochs=1, minibatches=2)
    update, optimizer = adversary.make_update(POLICY, settings), settings.optimizer
    reward = np.array([0.0, 1.0, -1.0, 2.0], np.float32)

    state, safe, metrics = update(
        init_state(params, optimizer), jax.tree.map(jnp.copy, params), params, trajectory, reward, jax.random.key(1), 0
    )
    assert all(np.isfinite(float(value)) for value in metrics.values())
    assert float(metrics["kl_to_reference"]) > 1e-4 and float(metrics["value_loss"]) > 0
    still, paths = unchanged(params, state.params)
    assert still == {path for path in paths if "'normalizer'" in path}
    jax.tree.map(np.testing.assert_array_equal, state.params, safe)


def test_acting_step_by_step_has_the_likelihoods_that_learning_computes(params, trajectory):
    """So the probability ratio of PPO starts at 1, also over the end of an episode."""
    logits, value, _ = jax.jit(POLICY.apply)(
        params, POLICY.initial_state(ROWS), trajectory.frames,
        behaviour.previous_actions(jnp.asarray(trajectory.actions)), trajectory.first,
    )  # fmt: skip
    buttons, camera = jax.nn.log_softmax(logits[..., :4]), jax.nn.log_softmax(logits[..., 4:])
    for n, t in np.ndindex(ROWS, TIME):
        a, b = trajectory.actions[n, t]
        np.testing.assert_allclose(trajectory.log_prob[n, t], buttons[n, t, a] + camera[n, t, b], atol=1e-4)
    np.testing.assert_allclose(trajectory.value, value, atol=1e-4)
