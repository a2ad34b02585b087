"""Scripted demonstrators in JAX: they move a little like a person, and are no person.

A demonstrator is a state, and a pure function from it and the environment's state to an action: so a
thousand record side by side in one scan. It does one activity after the other (a walk, a look around,
a side-step, digging, building). The hand moves the camera in short strokes with rests and glances, as
in ``envs/activities.py``, so that where the next frame looks is not told by the last ones. It sees
the world itself, not the picture, to walk around holes, water and walls; mostly. ``Gaps`` leave out
some of what it does.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax.envs.gaps import Gaps, slow_bins, without
from prowl_jax.envs.voxel.blocks import SOLID, WATER, block_of
from prowl_jax.envs.voxel.cast import look_up
from prowl_jax.envs.voxel.tasks import Behaviour
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
      allowed: dict, thing of ``gaps.THINGS`` -> bool, what the activity may contain; empty without gaps.
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
    allowed: dict


def start(key, gaps: Gaps | None = None) -> Demonstrator:
    """A demonstrator about to plan its first activity."""
    hand = Hand(jnp.float32(0), jnp.float32(0), jnp.float32(0), jnp.int32(0))
    zero, no = jnp.int32(0), jnp.bool_(False)
    allowed = {} if gaps is None else dict.fromkeys(gaps.chances, no)
    return Demonstrator(key, zero, zero, zero, zero, zero, no, no, jnp.float32(5), hand, hand, allowed)


def act(behaviour: Behaviour, me: Demonstrator, state, gaps: Gaps | None = None):
    """(the demonstrator after this step, int32 ``[A]``) for what ``state`` (a ``world.State``) is.

    ``gaps`` are those of ``start``.
    """
    draw = jax.random.split(jax.random.fold_in(me.key, me.age), 6)
    over = (me.steps <= 0) & (jnp.abs(me.yaw.left) < DONE_DEGREES)
    me = _choose(over, _plan(behaviour, draw[0], me, state.body.pitch, gaps), me)
    near, far = (_probe(state, me, distance) for distance in (NEAR_PROBE, FAR_PROBE))
    if gaps is not None:
        near["wall"] = near["wall"] | (near["step"] & ~_may_climb(me.allowed))
        finishing = (me.steps <= 0) & ~me.allowed["strafe_turning"]  # has strafed, and now turns
        me = dataclasses.replace(me, strafe=jnp.where(finishing, 0, me.strafe))
    danger = me.careful & (near["hole"] | far["hole"] | near["wall"]) & ~state.wet & state.body.grounded
    danger = danger | (state.body.bumped & near["wall"])
    turning = jnp.abs(me.yaw.left) >= DONE_DEGREES
    me = _choose(danger & (me.move + me.strafe > 0), _turn_away(draw[1], me, turning), me)

    yaw, yaw_bin = _stroke(draw[2], me.yaw, me.pace, _yaw_limit(me, gaps))
    pitch, pitch_bin = _stroke(draw[3], me.pitch, 0.6 * me.pace, _pitch_limit(me, gaps, state.body.pitch))
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
    if gaps is not None:
        action = without(action, me.allowed)
    me = dataclasses.replace(me, age=me.age + 1, steps=me.steps - 1, yaw=yaw, pitch=pitch)
    return me, jnp.stack([action[name] for name in SPEC.names]).astype(jnp.int32)


def _plan(behaviour, key, me, pitch, gaps):
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
    move = jnp.where(kind == WALK, 1, jnp.where(aside & back, 2, 0))
    strafe = jnp.where(aside & ~back, side, 0)
    sprint = jax.random.uniform(draw[7]) < behaviour.sprint
    careful = jax.random.uniform(draw[8]) < behaviour.care
    allowed = me.allowed
    if gaps is not None:
        allowed = _draw_allowed(gaps, jax.random.fold_in(key, 0x6A9))
        move, strafe = without({"move": move, "strafe": strafe}, allowed).values()
        careful = careful | ~_may_climb(allowed)  # who falls into water cannot swim out
    return dataclasses.replace(
        me,
        kind=kind,
        steps=steps,
        move=move,
        strafe=strafe,
        sprint=sprint,
        careful=careful,
        pace=jax.random.uniform(draw[9], minval=4.5, maxval=11.0),
        yaw=dataclasses.replace(me.yaw, left=me.yaw.left + turn),
        pitch=dataclasses.replace(me.pitch, left=jnp.clip(down, -60.0, 70.0) - pitch),
        allowed=allowed,
    )


def _draw_allowed(gaps, key):
    """What an activity may contain: dict, thing -> bool. A chance of 1 always, of 0 never."""
    drawn = jax.random.uniform(key, (len(gaps.chances),))
    return {thing: drawn[i] < chance for i, (thing, chance) in enumerate(gaps.chances.items())}


def _may_climb(allowed):
    """Whether an activity may jump where it walks: onto a step, out of water."""
    return allowed["jump"] & allowed["jump_moving"]


def _yaw_limit(me, gaps):
    """What to make of a bin of yaw: a function of it, None without gaps."""
    if gaps is None:
        return None
    slow = jnp.where(me.allowed["fast_turn"], CAMERA.bins // 2, slow_bins(CAMERA, gaps.fast_degrees))
    most = jnp.where((me.strafe > 0) & ~me.allowed["strafe_turning"], 0, slow)
    return lambda bin_: jnp.clip(bin_, CAMERA.bins // 2 - most, CAMERA.bins // 2 + most)


def _pitch_limit(me, gaps, pitch):
    """As ``_yaw_limit``: none that would look farther than both the limit and where one looks already."""
    if gaps is None:
        return None

    def limit(bin_):
        gaze = pitch + jnp.array(CAMERA.degrees, jnp.float32)[bin_]
        far = jnp.abs(gaze) > jnp.maximum(gaps.far_degrees, jnp.abs(pitch))
        down = gaze > jnp.maximum(gaps.far_degrees, pitch)
        permitted = (me.allowed["look_far"] | ~far) & (me.allowed["look_down"] | ~down)
        return jnp.where(permitted, bin_, CAMERA.bins // 2)

    return limit


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


def _stroke(key, hand, pace, limit=None):
    """One step of one axis: (the hand, its bin); ``limit`` is a function of bins."""
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
    if limit is not None:
        bin_ = limit(bin_)
    turned = jnp.array(CAMERA.degrees, jnp.float32)[bin_]
    return Hand(hand.left - turned, speed, aim, stroke), bin_


def _choose(condition, new, old):
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)
