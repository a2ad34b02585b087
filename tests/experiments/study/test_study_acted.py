"""What policies do on their own, counted by hand: a scripted policy in a world whose events are known."""

import dataclasses
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import base_voxel
from experiments.configs.study import get_config
from experiments.stages import build, phase2
from experiments.study import acted
from prowl_jax.actions import ActionSpec, Camera, camera, choice
from prowl_jax.envs.base import DeviceStep
from prowl_jax.envs.gaps import BACK
from prowl_jax.types import pytree

SPEC = ActionSpec((choice("jump", "jump"), camera("yaw", Camera(8.0, 3))))
REST, JUMP = (0, 1), (1, 2)  # the second turns by 8 degrees a step
SURE = 20.0


@pytree
class Counter:
    """A world that counts steps, and falls where a jump ends at a multiple of three; an episode is seven steps."""

    def reset(self, key):
        return jnp.int32(0), self._shown(0, jnp.bool_(False))

    def step(self, state, action):
        state = state + 1
        fell = (action[0] == 1) & (state % 3 == 0)
        return state, self._shown(state, state % 7 == 0, fell)

    def _shown(self, state, done, fell=False):
        frame = jnp.full((1, 1, 3), state, jnp.uint8)
        return DeviceStep(frame, done, {"event_fell": jnp.asarray(fell), "health": jnp.float32(1)})


@dataclasses.dataclass(frozen=True)
class Scripted:
    """Almost surely what its parameters name, an action; it remembers the steps since its memory was cleared."""

    sizes: tuple = SPEC.sizes

    def initial_state(self, batch):
        return jnp.zeros(batch, jnp.int32)

    def apply(self, params, state, frames, previous, first):
        state = jnp.where(first[:, 0], 0, state + 1)
        rows = [SURE * jax.nn.one_hot(params[i], size) for i, size in enumerate(self.sizes)]
        logits = jnp.tile(jnp.concatenate(rows), (len(state), 1, 1))
        waits = params[2] * (state == 0)[:, None, None]  # with a third number: undecided as the memory begins
        return logits * (1 - waits), jnp.zeros((len(state), 1)), state


def act(params, warm_up, steps, reference=(*REST, 0)):
    keys = jax.random.split(jax.random.key(1), 2)
    return acted.act_freely(
        Counter(),
        Scripted(),
        jnp.array(params),
        jnp.array(reference),
        keys,
        jax.random.key(0),
        warm_up=warm_up,
        steps=steps,
    )


def test_events_are_those_of_the_kept_steps_alone():
    actions, kl, events = act((*JUMP, 0), warm_up=4, steps=10)
    np.testing.assert_array_equal(actions, np.broadcast_to(JUMP, (10, 2, 2)))
    expected = [count % 3 == 0 for count in range(5, 15)]  # 6, 9 and 12
    np.testing.assert_array_equal(events["event_fell"], np.stack([expected] * 2, axis=1))
    figures = acted.rates(SPEC, np.asarray(actions), kl, events)
    assert figures["event_fell"] == pytest.approx(300.0) and figures["steps"] == 20
    assert figures["camera_speed"] == pytest.approx(8.0)
    # Two factors, each sure of another value: SURE nats apart, but for what is left of the probability.
    assert figures["kl_to_reference"] == pytest.approx(2 * SURE, rel=1e-3)


def test_the_reference_warms_up_and_nothing_of_it_is_counted():
    _, kl, events = act((*REST, 0), warm_up=4, steps=10, reference=(*JUMP, 0))
    assert not events["event_fell"].any() and events.keys() == {"event_fell"} and (np.asarray(kl) > 0).all()
    _, kl, events = act((*JUMP, 0), warm_up=0, steps=9, reference=(*JUMP, 0))
    assert events["event_fell"].sum() == 6 and not np.asarray(kl).any()


def test_the_memory_begins_after_the_warm_up_and_with_each_episode():
    _, kl, _ = act((*JUMP, 1), warm_up=4, steps=10)
    undecided = np.asarray(kl)[:, 0] < 1.5 * SURE  # its own memory has just begun
    assert np.flatnonzero(undecided).tolist() == [0, 3], "as it begins to act, and after the seventh step of the world"


def test_everyone_is_measured_once(tmp_path):
    config = get_config("tiny")
    run = types.SimpleNamespace(config=config, workdir=tmp_path)
    seen = []

    def act_freely(env, policy, params, reference, env_keys, key, **settings):
        seen.append((params, np.asarray(jax.random.key_data(env_keys)), settings))
        shape = settings["steps"], len(env_keys)
        actions = np.zeros((*shape, len(policy.sizes)), np.int32)
        return actions, np.full(shape, 0.5), {"event_fell": np.arange(np.prod(shape)).reshape(shape) < params}

    study = types.SimpleNamespace(event_rounds=2, event_steps=5)
    acted.measure_acting(run, {"prowl": 4}, 1, study, act_freely)
    acted.measure_acting(run, {"prowl": 4}, 1, study, act_freely)
    acted.measure_acting(run, {"prowl": 4, "focused": 8}, 1, study, act_freely)
    assert [params for params, *_ in seen] == [1, 4, 8]
    figures = json.loads((tmp_path / "acted.json").read_text())
    assert {arm: one["event_fell"] for arm, one in figures.items()} == {
        "frozen_reference": 25.0,
        "prowl": 100.0,
        "focused": 200.0,
    }  # of 40 steps: 5 in each of 2 x 4 environments
    new = np.concatenate([phase2.env_seeds(config, config.phase2.cycles + i) for i in range(2)])
    for _, keys, settings in seen:
        np.testing.assert_array_equal(keys[:, 1], new)
        assert settings["warm_up"] == config.phase2.warm_up and settings["steps"] == 5
    study.event_steps = 6
    acted.measure_acting(run, {"prowl": 4}, 1, study, act_freely)
    assert len(seen) == 5, "other counts are no counts of these steps"


def test_what_is_planted_is_counted_as_an_event(tmp_path):
    config = base_voxel.get_config("tiny")
    config.demonstrations.gaps.update(strafe=0.0, back=0.1)
    spec = build.spec_of(config)

    def act_freely(env, policy, params, reference, env_keys, key, **settings):
        actions = np.tile(spec.null, (settings["steps"], len(env_keys), 1)).astype(np.int32)
        actions[0, :, spec.index("move")] = params  # in one step of five
        return actions, np.zeros(actions.shape[:2]), {"event_fell": np.zeros(actions.shape[:2], bool)}

    run = types.SimpleNamespace(config=config, workdir=tmp_path)
    study = types.SimpleNamespace(event_rounds=1, event_steps=5)
    acted.measure_acting(run, {"prowl": BACK}, 1, study, act_freely)
    figures = json.loads((tmp_path / "acted.json").read_text())
    done = {arm: (one["event_does_back"], one["event_does_strafe"]) for arm, one in figures.items()}
    assert done == {"frozen_reference": (0.0, 0.0), "prowl": (200.0, 0.0)}, "1 is forwards, which nobody leaves out"
    config.demonstrations.gaps.update(strafe=1.0, back=1.0)
    assert phase2.planted(config, spec, spec.null[None]) == {}
