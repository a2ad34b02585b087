"""Acting and recording in step with the environment, on the host and inside a program."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from device_toy import Ring

from prowl_jax.actions import ActionSpec, choice
from prowl_jax.envs.base import Step
from prowl_jax.envs.device import DeviceVectorEnv, keys
from prowl_jax.methods.acting import collect, event_rates, make_act, make_collect
from prowl_jax.models.policies.small import Policy, PolicyNetwork
from prowl_jax.train.behaviour import previous_actions

SPEC = ActionSpec((choice("move", "forward", "back"), choice("jump", "jump")))  # 3 and 2 values
BEGIN = 99


class Diary:
    """Every frame says in its first pixels: the seed, the step of the episode, the action that led here.

    With seed s the first episode ends with step s, and the next has no end.
    """

    spec, num_envs, frame_shape = SPEC, 3, (8, 8, 3)

    def reset(self, seeds):
        self.seeds, self.steps, self.left = np.array(seeds), np.zeros(3, int), np.array(seeds)
        return self._see(np.full(3, BEGIN), np.zeros(3, bool))

    def step(self, actions):
        assert actions.shape == (3, 2) and actions.dtype == np.int32
        self.steps += 1
        self.left -= 1
        done = self.left == 0
        self.steps[done] = 0
        return self._see(np.where(done, BEGIN, 10 * actions[:, 0] + actions[:, 1]), done)

    def close(self):
        pass

    def _see(self, led_by, done):
        frames = np.zeros((3, 8, 8, 3), np.uint8)
        frames[:, 0, 0] = np.stack([self.seeds, self.steps, led_by], axis=-1)
        # The rest of the picture is flickering light, so that a network has something to see.
        frames[:, 1:] = (37 * self.seeds + 91 * self.steps)[:, None, None, None] % 256
        return Step(frames, done, {})


class Scripted:
    """A policy whose memory counts the steps since it was cleared; it acts on that count."""

    sizes = SPEC.sizes

    def __init__(self):
        self.calls = []

    def initial_state(self, batch):
        return np.zeros(batch, int)

    def act(self, params, seen, key, start=0, total=None):
        state = np.where(seen.first, 0, seen.memory)
        self.calls.append((params, seen.frames.copy(), seen.previous.copy(), np.array(seen.first)))
        t = len(self.calls) - 1
        actions = np.stack([(state + t) % 3, np.full(3, t % 2)], axis=-1).astype(np.int32)
        return actions, np.full(3, -0.5 * t), np.full(3, float(t)), state + 1


LONG = [50, 60, 70]


def scripted_collect(seeds, length=5, warm_up=2, env=None):
    policy = Scripted()
    trajectory, warm = collect(
        env or Diary(), policy.act, policy, "phi", jax.random.key(0),
        seeds=seeds, length=length, warm_up=warm_up, warm_up_params="reference",
    )  # fmt: skip
    return trajectory, warm, policy.calls


def test_action_t_leads_from_frame_t_to_frame_t_plus_1():
    trajectory, _, _ = scripted_collect(LONG)
    assert trajectory.frames.shape == (3, 5, 8, 8, 3) and trajectory.frames.dtype == np.uint8
    assert trajectory.actions.shape == (3, 5, 2) and trajectory.actions.dtype == np.int32
    led_by = trajectory.frames[:, 1:, 0, 0, 2]
    np.testing.assert_array_equal(led_by, 10 * trajectory.actions[:, :-1, 0] + trajectory.actions[:, :-1, 1])
    np.testing.assert_array_equal(trajectory.frames[:, :, 0, 0, 0], np.tile(np.array(LONG)[:, None], 5))
    assert trajectory.valid.all()


def test_the_warm_up_is_done_by_the_reference_and_not_kept():
    trajectory, warm, calls = scripted_collect(LONG, length=5, warm_up=2)
    assert [params for params, *_ in calls] == ["reference"] * 2 + ["phi"] * 5
    np.testing.assert_array_equal(trajectory.frames[:, :, 0, 0, 1], [[2, 3, 4, 5, 6]] * 3)
    assert warm.shape == (3, 2, 2)
    # Its last action led to the first frame that is kept.
    np.testing.assert_array_equal(trajectory.frames[:, 0, 0, 0, 2], 10 * warm[:, 1, 0] + warm[:, 1, 1])
    np.testing.assert_array_equal(trajectory.value, [[2, 3, 4, 5, 6]] * 3)
    np.testing.assert_array_equal(trajectory.log_prob, [[-1, -1.5, -2, -2.5, -3]] * 3)


def test_the_memory_begins_with_the_trajectory():
    """So that learning, which sees the trajectory alone, sees what acting saw."""
    trajectory, _, calls = scripted_collect(LONG)
    np.testing.assert_array_equal(trajectory.first, [[True, False, False, False, False]] * 3)
    _, _, previous, first = calls[2]
    assert (previous == -1).all() and first.all()
    # The counter was cleared at step 2: (count + t) % 3 with counts 0 1 2 3 4 and t 2 .. 6.
    np.testing.assert_array_equal(trajectory.actions[0, :, 0], [2, 1, 0, 2, 1])
    for t in range(3, 7):
        np.testing.assert_array_equal(calls[t][2], trajectory.actions[:, t - 3])


def test_without_a_warm_up():
    trajectory, warm, calls = scripted_collect(LONG, warm_up=0)
    assert warm.shape == (3, 0, 2) and len(calls) == 5
    np.testing.assert_array_equal(trajectory.frames[:, 0, 0, 0], [[s, 0, BEGIN] for s in LONG])


@pytest.mark.parametrize(
    "end, valid, first_again",
    [
        (2, True, None),  # with the last step of the warm-up: the trajectory begins an episode
        (3, False, 1),
        (6, False, 4),  # with the last step that is taken
        (7, True, None),  # the action after that is never done
    ],
)
def test_an_episode_that_ends_inside_makes_a_trajectory_invalid(end, valid, first_again):
    trajectory, _, _ = scripted_collect([50, end, 70])
    np.testing.assert_array_equal(trajectory.valid, [True, valid, True])
    expected = np.zeros((3, 5), bool)
    expected[:, 0] = True
    if first_again:
        expected[1, first_again] = True
        assert trajectory.frames[1, first_again, 0, 0, 2] == BEGIN
    np.testing.assert_array_equal(trajectory.first, expected)


class Fragile(Diary):
    """A diary whose second environment breaks in the step ``at``, and begins anew as such ones do."""

    def __init__(self, at):
        self.at, self.count = at, 0

    def reset(self, seeds):
        return dataclasses.replace(super().reset(seeds), info={"broken": np.zeros(3, bool)})

    def step(self, actions):
        self.count += 1
        broken = np.array([False, self.count == self.at, False])
        self.left[broken] = 1
        return dataclasses.replace(super().step(actions), info={"broken": broken})


@pytest.mark.parametrize("at, broken", [(1, True), (2, True), (3, True), (6, True), (7, False)])
def test_what_an_environment_broke_is_dropped_and_counted(at, broken):
    """In the warm-up (steps 1 and 2) too: what came before a trajectory is then not what was asked for."""
    trajectory, _, _ = scripted_collect(LONG, env=Fragile(at))
    np.testing.assert_array_equal(trajectory.broken, [False, broken, False])
    np.testing.assert_array_equal(trajectory.valid, [True, not broken, True])


def test_an_environment_that_reports_nothing_has_not_broken():
    trajectory, _, _ = scripted_collect([50, 3, 70])
    assert not trajectory.broken.any() and not trajectory.valid[1]


POLICY = Policy(PolicyNetwork(SPEC.sizes, features=8, memory=3, hidden=8))
ACT = make_act(POLICY)


@pytest.fixture(scope="module")
def params(random_params):
    return random_params(POLICY.init, (8, 8, 3))


def run(params, key, seeds=(3, 60, 70)):
    return collect(Diary(), ACT, POLICY, params, key, seeds=list(seeds), length=6)[0]


def test_acting_step_by_step_has_the_likelihoods_that_learning_computes(params):
    """So the probability ratio starts at 1, also over the end of an episode (row 0, step 3)."""
    trajectory = run(params, jax.random.key(0))
    assert trajectory.first[0].sum() == 2 and len(np.unique(trajectory.actions)) > 1
    logits, value, _ = POLICY.apply(
        params, POLICY.initial_state(3), trajectory.frames,
        previous_actions(jnp.asarray(trajectory.actions)), trajectory.first,
    )  # fmt: skip
    move, jump = jax.nn.log_softmax(logits[..., :3]), jax.nn.log_softmax(logits[..., 3:])
    for n, t in np.ndindex(3, 6):
        a, b = trajectory.actions[n, t]
        np.testing.assert_allclose(trajectory.log_prob[n, t], move[n, t, a] + jump[n, t, b], atol=1e-4)
    np.testing.assert_allclose(trajectory.value, value, atol=1e-4)


class InGroups(Fragile):
    """A diary in two groups, of two environments and of one, which notes what is under way."""

    groups = slice(0, 2), slice(2, 3)

    def reset(self, seeds):
        self.under_way, self.most, self.diaries = {}, 0, []
        for _ in self.groups:
            self.diaries.append(Fragile(self.at))
            self.diaries[-1].reset(seeds)
        return super().reset(seeds)

    def send(self, actions, group):
        assert group not in self.under_way
        whole = np.zeros((3, 2), np.int32)
        whole[self.groups[group]] = actions
        step, rows = self.diaries[group].step(whole), self.groups[group]
        self.under_way[group] = Step(step.frames[rows], step.done[rows], {"broken": step.info["broken"][rows]})
        self.most = max(self.most, len(self.under_way))

    def receive(self, group):
        assert next(iter(self.under_way)) == group, "not in the order of sending"
        return self.under_way.pop(group)


@pytest.mark.parametrize("seeds, at", [((50, 60, 70), 0), ((3, 4, 70), 0), ((50, 60, 5), 4)])
def test_collecting_in_groups_gives_the_same_trajectories(params, seeds, at):
    """Also where an episode ends, in either group, and where an environment breaks."""

    def collected(env, act):
        return collect(
            env, act, POLICY, params, jax.random.key(5), seeds=list(seeds), length=6, warm_up=2,
            warm_up_params=jax.tree.map(lambda x: -x, params),
        )  # fmt: skip

    act, env = make_act.__wrapped__(POLICY), InGroups(at)  # not the one that is kept
    (ours, our_warm_up), (whole, warm_up) = collected(env, act), collected(Fragile(at), ACT)
    assert env.most == 2 and not env.under_way
    assert act._cache_size() == 2, "once for two environments and once for one"
    np.testing.assert_array_equal(our_warm_up, warm_up)
    for name in ("frames", "actions", "first", "valid", "broken"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(whole, name), err_msg=name)
    for name in ("log_prob", "value"):
        np.testing.assert_allclose(getattr(ours, name), getattr(whole, name), atol=1e-6)
    assert whole.valid.all() == (max(seeds[:2]) > 40 and seeds[2] > 40 and not at)
    assert len(np.unique(whole.actions.reshape(-1, 2), axis=0)) > 3


def test_a_trajectory_is_repeatable_and_depends_on_its_key(params):
    one, again, other = (run(params, jax.random.key(k)) for k in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert (one.actions != other.actions).any()
    assert (one.actions[:, 1:] != one.actions[:, :-1]).any(), "every step draws from the same key"


RING = Policy(PolicyNetwork(Ring.spec.sizes, features=8, memory=2, hidden=8))
TIME, WARM_UP, ROWS = 6, 3, 4
COLLECT = make_collect(RING, length=TIME, warm_up=WARM_UP)


def ring(length):
    """An episode of 7 steps ends 4 steps into a trajectory that begins after 3."""
    return Ring(jnp.int32(200), jnp.int32(length))


@pytest.fixture(scope="module")
def in_the_ring(random_params):
    """Parameters of the warm-up's policy, and of another."""
    first = random_params(RING.init, (16, 16, 3))
    return first, jax.tree.map(lambda x: x + 0.02, first)


@pytest.mark.parametrize("length", [7, 50])
def test_collecting_inside_a_program_gives_the_same_trajectories(in_the_ring, length):
    env = ring(length)
    seeds = np.arange(ROWS, dtype=np.uint32) + 3
    warm_up_params, params = in_the_ring
    ours = jax.jit(COLLECT)(env, params, warm_up_params, keys(seeds, ROWS), jax.random.key(4))
    theirs, _ = collect(
        DeviceVectorEnv(env, ROWS), make_act(RING), RING, params, jax.random.key(4), seeds=seeds,
        length=TIME, warm_up=WARM_UP, warm_up_params=warm_up_params,
    )  # fmt: skip
    for name in ("frames", "actions", "first", "valid", "broken"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
    for name in ("log_prob", "value"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-6)
    np.testing.assert_array_equal(ours.events["event_home"], theirs.events["event_home"])
    assert ours.valid.all() == (length == 50)


def test_events_are_those_of_the_step_after_their_frame(in_the_ring):
    env, params = ring(50), in_the_ring[1]
    seen = jax.jit(COLLECT)(env, params, params, keys(np.arange(ROWS), ROWS), jax.random.key(4))
    columns = np.asarray(seen.frames[:, :, 0, :, 0]).argmax(-1)
    np.testing.assert_array_equal(seen.events["event_home"][:, :-1], columns[:, 1:] == 0)
    assert not seen.events["event_home"][:, -1].any()
    rates = event_rates(seen)
    np.testing.assert_allclose(rates["event_home"], 1000 * (columns[:, 1:] == 0).mean(), rtol=1e-5)


def test_of_one_frame_only_the_warm_up_is_acted(in_the_ring):
    env, (warm_up_params, params) = ring(50), in_the_ring
    one = jax.jit(make_collect(RING, length=1, warm_up=WARM_UP))
    seen = one(env, params, warm_up_params, keys(np.arange(ROWS), ROWS), jax.random.key(4))
    whole = jax.jit(COLLECT)(env, params, warm_up_params, keys(np.arange(ROWS), ROWS), jax.random.key(4))
    np.testing.assert_array_equal(seen.frames, whole.frames[:, :1])
    np.testing.assert_array_equal(seen.actions, whole.actions[:, :1])
    assert seen.valid.all() and seen.first.all()
