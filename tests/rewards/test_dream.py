"""What is observed of reality, dreamt of it, and scored, on a world that can be predicted."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_world import cheap_flow
from toy_world_model import FrameByFrame

from prowl_jax.metrics.action_follow import flow_of_frames
from prowl_jax.rewards import REWARDS
from prowl_jax.rewards.dream import group, make_dream, make_observe, make_score
from prowl_jax.rewards.regret import frame_regret
from prowl_jax.types import RealClip, Trajectory

CONTEXT, HORIZON, SIZES = 2, 4, (3, 5)
TIME = CONTEXT + HORIZON


@dataclasses.dataclass(frozen=True)
class Walk(FrameByFrame):
    """A world that can be predicted: a latent is the one before plus the action that led to it.

    ``params`` is an error that is added to every dreamt latent. A frame shows its latent's mean.
    """

    chunk: int = 2

    def rollout(self, params, key, context, actions, n_chunks, common_noise=False):
        steps = actions[:, CONTEXT - 1 : CONTEXT - 1 + n_chunks * self.chunk].sum(-1)
        latents = context[:, -1:] + jnp.cumsum(steps, axis=1)[..., None, None, None]
        noise = params.get("noise", 0.0) * jax.random.normal(key, (1 if common_noise else len(context), 1, 1, 1, 1))
        return latents + params["error"] + noise

    def decode(self, params, latents):
        grey = latents.mean((2, 3, 4), keepdims=True) / 255.0
        return jnp.broadcast_to(grey, (*latents.shape[:2], 4, 4, 3))

    def encode(self, params, frames):
        return jnp.broadcast_to(frames[..., :1, :1, :1].astype(jnp.float32), (*frames.shape[:2], 2, 2, 3))


def walks(rows, seed=0):
    """Trajectories of that world."""
    rng = np.random.default_rng(seed)
    actions = rng.integers(0, 3, (rows, TIME, 2)).astype(np.int32)
    light = 10 + np.concatenate([np.zeros((rows, 1)), np.cumsum(actions.sum(-1)[:, :-1], axis=1)], axis=1)
    frames = np.broadcast_to(light[..., None, None, None], (rows, TIME, 4, 4, 3)).astype(np.uint8)
    valid, flags, zeros = (
        np.ones(rows, bool),
        np.zeros((rows, TIME), bool),
        np.zeros((rows, TIME), np.float32),
    )
    return Trajectory(frames, actions, flags, zeros, zeros, valid)


def observed(trajectory, params=None, flow=cheap_flow):
    return make_observe(Walk(), CONTEXT, flow)(params or {}, trajectory)


def scored(clips, params, flow=cheap_flow, rows=3):
    score = make_score(make_dream(Walk(), CONTEXT, flow, common_noise=True), REWARDS, rows)
    return score(params, clips)


def test_what_is_observed_of_a_trajectory():
    trajectory = walks(2)
    items = observed(trajectory)
    np.testing.assert_array_equal(items.frames, trajectory.frames)
    np.testing.assert_array_equal(items.actions, trajectory.actions)
    np.testing.assert_array_equal(items.latents[..., 0, 0, 0], trajectory.frames[..., 0, 0, 0])
    # Flow into every scored frame, the first from the last frame of the context.
    assert items.flow.shape == (2, HORIZON, 4, 4, 2) and items.flow.dtype == jnp.float16
    change = np.diff(trajectory.frames[:, CONTEXT - 1 :, 0, 0, 0].astype(int), axis=1) / 255
    np.testing.assert_allclose(items.flow[:, :, 0, 0, 0], change, atol=1e-3)


@pytest.mark.parametrize("rows", [3, 5, 2])
def test_a_perfect_prediction_has_no_regret(rows):
    """Whole batches of 3, a last one that is not full, and less than one."""
    clips = observed(walks(rows))
    raw = scored(clips, {"error": 0.0})
    assert raw.keys() == {"regret", "afs"} and raw["regret"].shape == raw["afs"].shape == (rows,)
    np.testing.assert_allclose(raw["regret"], 0.0, atol=1e-4)
    np.testing.assert_allclose(raw["afs"], 0.0, atol=1e-3)


def test_a_flow_with_weights_finds_them_beside_the_world_models():
    """Twice the flow is twice the error: of the real frames that are observed, of the dreamt ones that are scored."""

    def flow(params, first, second):
        return params["factor"] * (second - first)[..., :2]

    params = {"error": 51.0, "factor": 2.0}
    clips = observed(walks(3), params, flow)
    np.testing.assert_allclose(clips.flow, 2 * observed(walks(3)).flow, rtol=1e-3)
    raw = scored(clips, params, flow)
    np.testing.assert_allclose(raw["regret"], 51.0, rtol=1e-5)
    np.testing.assert_allclose(raw["afs"], 2 * np.sqrt(2) * 0.2 / HORIZON, rtol=1e-2)


def test_a_constant_error_is_its_own_regret_and_moves_once():
    raw = scored(observed(walks(5)), {"error": 51.0})
    np.testing.assert_allclose(raw["regret"], 51.0, rtol=1e-5)
    # All frames are too bright alike: only the step from the context into the dream differs, by
    # 51/255 in both colours, in one of four frame pairs.
    np.testing.assert_allclose(raw["afs"], np.sqrt(2) * 0.2 / HORIZON, rtol=1e-2)


def test_a_dream_lies_beside_what_was_real():
    clips = observed(walks(2))
    dreamt = make_dream(Walk(), CONTEXT, cheap_flow)({"error": 0.0}, jax.random.key(0), clips)
    np.testing.assert_array_equal(dreamt.context, clips.latents[:, :CONTEXT])
    np.testing.assert_allclose(dreamt.latents, dreamt.real.latents, atol=1e-4)
    np.testing.assert_allclose(dreamt.seen, clips.frames[:, :CONTEXT] / 255.0, atol=1e-6)
    np.testing.assert_allclose(dreamt.frames, dreamt.real.frames / 255.0, atol=1e-6)
    np.testing.assert_allclose(dreamt.flow, dreamt.real.flow, atol=1e-3)
    np.testing.assert_array_equal(dreamt.real.frames, clips.frames[:, CONTEXT:])


def test_regret_by_frame_is_that_of_each_latent():
    clips = observed(walks(2))
    dreamt = make_dream(Walk(), CONTEXT, cheap_flow)({"error": 3.0}, jax.random.key(0), clips)
    wrong = dataclasses.replace(dreamt, latents=dreamt.latents.at[:, 1].add(4.0))
    np.testing.assert_allclose(frame_regret({}, wrong), [[3.0, 7.0, 3.0, 3.0]] * 2, rtol=1e-5)


def test_without_frames_those_of_the_context_are_decoded_and_afs_says_what_it_lacks():
    clips = observed(walks(2))
    known = RealClip(clips.latents, clips.actions)
    dreamt = make_dream(Walk(), CONTEXT, cheap_flow)({"error": 0.0}, jax.random.key(0), known)
    np.testing.assert_allclose(dreamt.seen, clips.frames[:, :CONTEXT] / 255.0, atol=1e-6)
    assert dreamt.real.frames is None and not np.asarray(REWARDS["regret"]({}, dreamt)).any()
    with pytest.raises(ValueError, match="afs needs the optical flow"):
        REWARDS["afs"]({}, dreamt)


def test_a_group_has_noise_of_its_own_for_each_dream_and_rewards_for_each():
    clips, params = observed(walks(3)), {"error": 0.0, "noise": 5.0}
    dream = make_dream(Walk(), CONTEXT, cheap_flow)
    dreams = group(dream, 4)(params, jax.random.key(0), clips)
    regret = np.asarray(REWARDS["regret"](params, dreams))
    assert regret.shape == (3, 4) and REWARDS["afs"](params, dreams).shape == (3, 4)
    assert len(np.unique(regret.round(4))) == 12
    first = dream(params, jax.random.split(jax.random.key(0), 4)[0], clips)
    np.testing.assert_allclose(regret[:, 0], REWARDS["regret"](params, first), rtol=1e-5)


def test_a_score_is_of_common_noise_whatever_stands_beside():
    params = {"error": 0.0, "noise": 5.0}
    whole = scored(observed(walks(5)), params)["regret"]
    alone = scored(jax.tree.map(lambda x: x[3:4], observed(walks(5))), params)["regret"]
    np.testing.assert_allclose(whole[3:4], alone, rtol=1e-6)
    assert whole[0] > 0.1


@pytest.mark.parametrize("factory", [make_observe, make_dream, flow_of_frames])
def test_no_flow_is_assumed(factory):
    """One that silently means the small flow mixes the flows of the clips and of their dreams."""
    assert inspect.signature(factory).parameters["flow"].default is inspect.Parameter.empty
