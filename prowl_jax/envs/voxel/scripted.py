"""Scripted demonstrators in JAX: they move a little like a person, and are no person.

A demonstrator is a state, and a pure function from it and the environment's state to an action: so a
thousand record side by side in one scan. It does one activity after the other (a walk, a look around,
a side-step, digging, building). The hand moves the camera in short strokes with rests and glances, as
in ``envs/demonstrators.py``, so that where the next frame looks is not told by the last ones. It sees
the world itself, not the picture, to walk around holes, water and walls; mostly.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax.envs.device import keys
from prowl_jax.envs.voxel.blocks import SOLID, WATER, block_of
from prowl_jax.envs.voxel.cast import look_up
from prowl_jax.envs.voxel.tasks import TASKS, Behaviour, make_world
from prowl_jax.envs.voxel.world import SPEC
from prowl_jax.types import pytree

SMOOTHING = 0.15  # share of the last step's turning speed that the next one keeps
WOBBLE = 0.12  # noise in the turning speed, as a share of it
REST, GLANCE = 0.2, 0.2  # chance that a stroke rests, and that one that moves goes the other way
DONE_DEGREES = 6.0  # a turn with less than this left is over
NEAR_PROBE, FAR_PROBE = 0.9, 1.6  # metres ahead
WALK, LOOK, ASIDE, MINE, BUILD = range(5)
CAMERA = SPEC.factors[-1].camera


@pytree
class Hand:
    """One axis of the camera: degrees left to turn, speed, and the stroke under way (float32, int32)."""

    left: jax.Array
    speed: jax.Array
    aim: jax.Array
    stroke: jax.Array


@pytree
class Demonstrator:
    """The state of one demonstrator; scalars.

    Attributes:
      key: of everything random.
      age: int32, steps done.
      kind, steps: int32, the activity under way and for how long it still goes on.
      move, strafe: int32 values of these factors.
      sprint, careful: bool.
      pace: float32, fastest turning, degrees a step.
      yaw, pitch: the two axes of the camera.
    """

    key: jax.Array
    age: jax.Array
    kind: jax.Array
    steps: jax.Array
    move: jax.Array
    strafe: jax.Array
    sprint: jax.Array
    careful: jax.Array
    pace: jax.Array
    yaw: Hand
    pitch: Hand


def start(key) -> Demonstrator:
    """A demonstrator about to plan its first activity."""
    hand = Hand(jnp.float32(0), jnp.float32(0), jnp.float32(0), jnp.int32(0))
    zero, no = jnp.int32(0), jnp.bool_(False)
    return Demonstrator(key, zero, zero, zero, zero, zero, no, no, jnp.float32(5), hand, hand)


def act(behaviour: Behaviour, me: Demonstrator, state):
    """(the demonstrator after this step, int32 ``[A]``) for what ``state`` (a ``world.State``) is."""
    draw = jax.random.split(jax.random.fold_in(me.key, me.age), 6)
    over = (me.steps <= 0) & (jnp.abs(me.yaw.left) < DONE_DEGREES)
    me = _choose(over, _plan(behaviour, draw[0], me, state.body.pitch), me)
    near, far = (_probe(state, me, distance) for distance in (NEAR_PROBE, FAR_PROBE))
    danger = me.careful & (near["hole"] | far["hole"] | near["wall"]) & ~state.wet & state.body.grounded
    danger = danger | (state.body.bumped & near["wall"])
    turning = jnp.abs(me.yaw.left) >= DONE_DEGREES
    me = _choose(danger & (me.move + me.strafe > 0), _turn_away(draw[1], me, turning), me)

    yaw, yaw_bin = _stroke(draw[2], me.yaw, me.pace)
    pitch, pitch_bin = _stroke(draw[3], me.pitch, 0.6 * me.pace)
    walks = me.move == 1
    hop = (jax.random.uniform(draw[4]) < behaviour.hop) & walks
    jump = state.wet | (walks & near["step"]) | hop
    action = {
        "move": jnp.where(state.wet, 1, me.move),
        "strafe": me.strafe,
        "jump": jump,
        "sneak": 0,
        "sprint": me.sprint & walks,
        "attack": me.kind == MINE,
        "use": (me.kind == BUILD) & (me.steps % 7 == 0),
        "pitch": pitch_bin,
        "yaw": yaw_bin,
    }
    me = dataclasses.replace(me, age=me.age + 1, steps=me.steps - 1, yaw=yaw, pitch=pitch)
    return me, jnp.stack([action[name] for name in SPEC.names]).astype(jnp.int32)


def _plan(behaviour, key, me, pitch):
    """The next activity."""
    draw = jax.random.split(key, 10)
    chances = jnp.log(jnp.array([getattr(behaviour, n) for n in ("walk", "look", "aside", "mine", "build")]))
    kind = jax.random.categorical(draw[0], chances)
    sign = jnp.where(jax.random.bernoulli(draw[1]), 1.0, -1.0)
    turn = sign * jax.random.uniform(draw[2], minval=behaviour.turn[0], maxval=behaviour.turn[1])
    turn = turn * jnp.array([1.0, 1.2, 0.4, 0.3, 0.5])[kind]
    least, most = behaviour.stretch
    least = jnp.array([least, 8, 6, 12, 6])[kind]
    steps = jax.random.randint(draw[3], (), least, jnp.array([most, 25, 18, 40, 20])[kind] + 1)
    down = behaviour.pitch[0] + behaviour.pitch[1] * jax.random.normal(draw[4])
    down = down + jnp.array([0.0, 0.0, 0.0, 28.0, 22.0])[kind]
    back = jax.random.uniform(draw[5]) < 0.25
    side = jax.random.randint(draw[6], (), 1, 3)
    aside = kind == ASIDE
    return dataclasses.replace(
        me,
        kind=kind,
        steps=steps,
        move=jnp.where(kind == WALK, 1, jnp.where(aside & back, 2, 0)),
        strafe=jnp.where(aside & ~back, side, 0),
        sprint=jax.random.uniform(draw[7]) < behaviour.sprint,
        careful=jax.random.uniform(draw[8]) < behaviour.care,
        pace=jax.random.uniform(draw[9], minval=4.5, maxval=11.0),
        yaw=dataclasses.replace(me.yaw, left=me.yaw.left + turn),
        pitch=dataclasses.replace(me.pitch, left=jnp.clip(down, -60.0, 70.0) - pitch),
    )


def _turn_away(key, me, turning):
    """Stand still and turn far, keeping to a turn that is under way; then walk on."""
    sign, size = jax.random.split(key)
    turn = jnp.where(jax.random.bernoulli(sign), 1.0, -1.0) * jax.random.uniform(size, minval=35.0, maxval=110.0)
    yaw = dataclasses.replace(me.yaw, left=jnp.where(turning, me.yaw.left, turn))
    stop = jnp.zeros_like(me.move)
    return dataclasses.replace(me, kind=stop + LOOK, steps=stop + 2, move=stop, strafe=stop, yaw=yaw)


def _probe(state, me, distance):
    """What there is ``distance`` metres ahead: a wall, a step to jump on, a hole or water."""
    yaw = jnp.radians(state.body.yaw)
    ahead = jnp.array([0.0, 1.0, -1.0])[me.move]
    left = jnp.array([0.0, 1.0, -1.0])[me.strafe]
    x = state.body.position[0] + distance * (ahead * jnp.cos(yaw) + left * jnp.sin(yaw))
    y = state.body.position[1] + distance * (-ahead * jnp.sin(yaw) + left * jnp.cos(yaw))
    rows = jnp.arange(-3, 3)  # below the foot ... above the head
    foot = jnp.floor(state.body.position[2] + 0.01).astype(jnp.int32)
    cells = [jnp.full(6, jnp.floor(v).astype(jnp.int32)) for v in (x, y)]
    byte = look_up(state.world, [*cells, jnp.maximum(foot + rows, 0)])
    solid, water = byte >= SOLID, block_of(byte) == WATER
    low, middle, high = solid[3], solid[4], solid[5]
    return {
        "wall": middle | (low & high),
        "step": low & ~middle & ~high,
        "hole": ~solid[:4].any() | water.any(),
    }


def _stroke(key, hand, pace):
    """One step of one axis: (the hand, its bin)."""
    draw = jax.random.split(key, 6)
    uniform = [jax.random.uniform(k) for k in draw[:4]]
    away = jnp.abs(hand.left)
    side = jnp.where(uniform[0] < 0.5, 1.0, -1.0)
    purpose = jnp.where(away > DONE_DEGREES, jnp.sign(hand.left), side)
    speed = jnp.minimum((0.5 + 0.7 * uniform[1]) * pace, jnp.maximum(3.0, away / 2))
    aim = purpose * speed
    aim = jnp.where(uniform[2] < GLANCE, -purpose * (0.3 + 0.7 * uniform[1]) * pace, aim)
    aim = jnp.where(uniform[3] < REST, 0.0, aim)
    new = hand.stroke <= 0
    aim = jnp.where(new, aim, hand.aim)
    stroke = jnp.where(new, jax.random.randint(draw[4], (), 1, 4), hand.stroke) - 1
    noise = WOBBLE * (1.0 + jnp.abs(hand.speed)) * jax.random.normal(draw[5])
    speed = SMOOTHING * hand.speed + (1 - SMOOTHING) * aim + noise
    share = jnp.clip(speed / CAMERA.max_degrees, -1.0, 1.0)
    level = jnp.sign(share) * jnp.log1p(CAMERA.mu * jnp.abs(share)) / np.log1p(CAMERA.mu)
    bin_ = jnp.round((level + 1.0) / 2.0 * (CAMERA.bins - 1)).astype(jnp.int32)
    turned = jnp.array(CAMERA.degrees, jnp.float32)[bin_]
    return Hand(hand.left - turned, speed, aim, stroke), bin_


def _choose(condition, new, old):
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


@functools.partial(jax.jit, static_argnames="steps")
def demonstrate(env, behaviour: Behaviour, seeds, *, steps: int):
    """Let N demonstrators act for ``steps`` steps in one scan.

    Args:
      env: a ``VoxelWorld``.
      behaviour: what they do.
      seeds: typed keys ``[N]``.
      steps: T.

    Returns:
      (frames uint8 ``[T, N, H, W, 3]``, actions int32 ``[T, N, A]``, done bool ``[T, N]``, info of the
      step that each action was, arrays ``[T, N, ...]``); ``actions[t]`` is done on seeing ``frames[t]``.
    """
    state, first = jax.vmap(env.reset)(seeds)
    actors = jax.vmap(lambda key: start(jax.random.fold_in(key, 0x5EED)))(seeds)

    def body(carry, _):
        state, frame, actors = carry
        actors, actions = jax.vmap(functools.partial(act, behaviour))(actors, state)
        state, step = jax.vmap(env.step)(state, actions)
        return (state, step.frame, actors), (frame, actions, step.done, step.info)

    return jax.lax.scan(body, (state, first.frame, actors), None, length=steps)[1]


def record(task, frames_per_episode, episodes, seed, on_progress=None, *, num_envs=16, **settings):
    """Record the demonstrator of ``task``, as ``envs.demonstrators.record`` does for other worlds.

    Args:
      task: key of ``tasks.TASKS``.
      frames_per_episode: T; an episode that ends early is yielded shorter.
      episodes: how many to yield.
      seed: the same seed gives the same recordings, for a given ``num_envs``.
      on_progress: called with the number of frames recorded so far.
      num_envs: how many record side by side.
      **settings: of ``tasks.make_world``, whose ``seed`` (of the worlds) is ``world_seed`` here.

    Yields:
      (frames uint8 ``[T, H, W, 3]``, actions int32 ``[T, A]``), ``actions[t]`` being done on
      seeing ``frames[t]``.

    Raises:
      ValueError: an unknown task, or lengths that are not positive.
    """
    if frames_per_episode < 1 or episodes < 1:
        raise ValueError(f"frames_per_episode and episodes must be positive, got {frames_per_episode}, {episodes}")
    env = make_world(task, seed=settings.pop("world_seed", 0), **settings)
    total = 0
    for round_ in range(-(-episodes // num_envs)):
        seeds = np.random.SeedSequence([seed, round_]).generate_state(num_envs)
        recorded = demonstrate(env, TASKS[task].behaviour, keys(seeds, num_envs), steps=frames_per_episode)
        frames, actions, done = map(np.asarray, recorded[:3])
        # What follows an end is another episode; it is not kept.
        lengths = np.where(done.any(axis=0), done.argmax(axis=0) + 1, frames_per_episode)
        for i in range(min(num_envs, episodes - round_ * num_envs)):
            total += int(lengths[i])
            if on_progress is not None:
                on_progress(total)
            yield frames[: lengths[i], i].copy(), actions[: lengths[i], i].copy()
