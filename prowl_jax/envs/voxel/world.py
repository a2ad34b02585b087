"""The voxel world as a ``DeviceEnv``: state, actions, one step, events, and new episodes."""

import dataclasses

import jax
import jax.numpy as jnp

from prowl_jax.actions import ActionSpec, Camera, camera, choice
from prowl_jax.envs.base import DeviceStep
from prowl_jax.envs.voxel import physics
from prowl_jax.envs.voxel.blocks import HARDNESS, LIGHT, PLANKS, SOLID, WATER, block_of
from prowl_jax.envs.voxel.cast import cast, index, look_up
from prowl_jax.envs.voxel.edit import opened, set_block
from prowl_jax.envs.voxel.goals import GOALS
from prowl_jax.envs.voxel.physics import Body, Controls
from prowl_jax.envs.voxel.render import DAY, View, make_renderer
from prowl_jax.types import pytree

SPEC = ActionSpec(
    (
        choice("move", "forward", "back"),
        choice("strafe", "left", "right"),
        *(choice(key, key) for key in ("jump", "sneak", "sprint", "attack", "use")),
        camera("pitch", Camera(10.0)),
        camera("yaw", Camera(10.0)),
    )
)
"""Minecraft's factors, but for those that need things to carry."""

REACH, REACH_STRIDES = 4.5, 10
PLACE_PAUSE = 4  # ticks between two blocks placed while "use" is held
DEEP_FALL = 3.0  # metres
IN_THE_FACE = 0.5  # metres
DARK = 4  # of LIGHT
DAWN_TO_DUSK = (500, 11500)  # ticks of the day at which an episode may begin

EVENTS = {
    "broke": "a block gave way",
    "broke_support": "that block was the one stood on",
    "flooded": "water ran in where a block gave way",
    "placed": "a block was placed",
    "jumped": "left the ground by jumping",
    "fell": f"is {DEEP_FALL:g} m below where it last stood",
    "entered_water": "came into water",
    "submerged": "the eye came under water",
    "face": f"something solid came nearer than {IN_THE_FACE} m to the eye, straight ahead",
    "darkness": f"the light at the eye sank to {DARK} of {LIGHT} or less",
}
"""The events of a step, by name: what became true in it."""


@pytree
class Aim:
    """What a body points at, within reach: the solid ``cell``, the clear one before it, the distance.

    ``distance`` (float32) is infinite where there is nothing. Cells are three int32 each.
    """

    cell: tuple
    entry: tuple
    distance: jax.Array


@pytree
class State:
    """One environment. Scalars unless said otherwise.

    Attributes:
      key: of everything random; episode i draws from ``fold_in(key, i)``.
      episode, age: int32, episodes since ``reset`` and steps since this one began.
      time: int32 tick of the day.
      world: uint8 ``[CELLS]`` (see ``blocks``).
      body: position, velocity and so on.
      aim: what the crosshair (the middle of the picture) is on.
      mined, progress: int32, ``cast.index`` of the block being broken, and for how many ticks.
      pause: int32, ticks until a block can be placed.
      wet, submerged, close, dark: bool, the conditions whose beginnings are events.
    """

    key: jax.Array
    episode: jax.Array
    age: jax.Array
    time: jax.Array
    world: jax.Array
    body: Body
    aim: Aim
    mined: jax.Array
    progress: jax.Array
    pause: jax.Array
    wet: jax.Array
    submerged: jax.Array
    close: jax.Array
    dark: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VoxelWorld:
    """A first-person world of blocks; a ``DeviceEnv`` of 20 steps a second.

    It is a pytree: give it to a jitted function as an argument, and its worlds are no constants of
    the program.

    Attributes:
      worlds, starts: a ``terrain.Pool`` on the device, uint8 ``[P, CELLS]`` and int32 ``[P, S, 3]``.
      frame_size: (H, W) of the pictures.
      episode_steps: after as many steps an episode ends; 0 is never.
      look: one of ``render.LOOKS``.
      hour: a tick of the day (0..23999; 0 sunrise, 6000 noon) at which time stands still, clouds and ripples
        too; None lets episodes begin at any hour of daylight and time go on.
      together: how ``vmap`` draws, see ``render.make_renderer``.
      goal: name of what there is to gain, of ``goals.GOALS``, told in the info; "" is nothing.
      goes_on: what the goal says is over goes on nevertheless, so that the frame that it ends with can be seen.
    """

    worlds: jax.Array
    starts: jax.Array
    frame_size: tuple = dataclasses.field(default=(64, 64), metadata={"static": True})
    episode_steps: int = dataclasses.field(default=1200, metadata={"static": True})
    look: str = dataclasses.field(default="textured", metadata={"static": True})
    hour: int | None = dataclasses.field(default=None, metadata={"static": True})
    together: bool | None = dataclasses.field(default=None, metadata={"static": True})
    goal: str = dataclasses.field(default="", metadata={"static": True})
    goes_on: bool = dataclasses.field(default=False, metadata={"static": True})

    @property
    def spec(self):
        """The factors of the actions."""
        return SPEC

    @property
    def frame_shape(self):
        """``(H, W, 3)``."""
        return (*self.frame_size, 3)

    def reset(self, key):
        """The first episode of ``key``: (state, ``DeviceStep``)."""
        world, fresh = self._start(key, jnp.int32(0))
        state = dataclasses.replace(fresh, world=self.worlds[world])
        state = _sense(state)
        gained = {"reward": jnp.float32(0), "over": jnp.bool_(False)} if self.goal else {}
        return state, DeviceStep(self.frame(state), jnp.bool_(False), {**_info(state, _no_events()), **gained})

    def step(self, state: State, action):
        """Do ``action`` (int32 ``[A]``) for one tick: (state, ``DeviceStep``).

        A block gives way or is placed where the crosshair was in the frame that was seen; then the
        body turns and moves.
        """
        acted, events = _act(state, _controls(action))
        if self.hour is None:
            acted = dataclasses.replace(acted, time=(state.time + 1) % DAY)
        done = (acted.age >= self.episode_steps) if self.episode_steps else jnp.bool_(False)
        gained = self._gained(state, acted, events)
        if self.goal and not self.goes_on:
            done = done | gained["over"]
        world, fresh = self._start(acted.key, acted.episode + 1)
        fresh = dataclasses.replace(fresh, world=())
        kept = jax.tree.map(lambda new, old: jnp.where(done, new, old), fresh, dataclasses.replace(acted, world=()))
        state = dataclasses.replace(kept, world=_replace_if(done, acted.world, self.worlds, world))
        state = _sense(state)
        return state, DeviceStep(self.frame(state), done, {**_info(state, events), **gained})

    def _gained(self, before, after, events):
        """What the goal says of a step; nothing without one."""
        if not self.goal:
            return {}
        goal = GOALS[self.goal]
        return {name: getattr(goal, name)(before, after, events) for name in ("reward", "over")}

    def frame(self, state: State):
        """What is seen, uint8 ``[H, W, 3]``."""
        hardness = jnp.asarray(HARDNESS)[block_of(look_up(state.world, state.aim.cell))]
        mining = (state.progress > 0) & (index(*state.aim.cell) == state.mined)
        damage = jnp.where(mining, state.progress / jnp.maximum(hardness, 1), 0.0)
        view = View(
            physics.eye(state.body),
            state.body.yaw,
            state.body.pitch,
            state.submerged,
            state.time,
            state.mined,
            damage.astype(jnp.float32),
        )
        return make_renderer(self.frame_size, look=self.look, together=self.together)(state.world, view)

    def _start(self, key, episode):
        """(index of a world, a state without it) for an episode."""
        draw = jax.random.split(jax.random.fold_in(key, episode), 5)
        world = jax.random.randint(draw[0], (), 0, self.worlds.shape[0])
        start = self.starts[world, jax.random.randint(draw[1], (), 0, self.starts.shape[1])]
        position = start.astype(jnp.float32) + jnp.array([0.5, 0.5, 0.0])
        zero, no = jnp.int32(0), jnp.bool_(False)
        body = Body(
            position,
            jnp.zeros(3),
            jax.random.uniform(draw[2], (), minval=-180.0, maxval=180.0),
            jax.random.uniform(draw[3], (), minval=-5.0, maxval=15.0),
            jnp.bool_(True),
            no,
            no,
            position[2],
        )
        time = jax.random.randint(draw[4], (), *DAWN_TO_DUSK) if self.hour is None else jnp.int32(self.hour)
        aim = Aim((zero,) * 3, (zero,) * 3, jnp.float32(jnp.inf))
        return world, State(key, episode, zero, time, (), body, aim, zero - 1, zero, zero, no, no, no, no)


@jax.custom_batching.custom_vmap
def _replace_if(wanted, world, worlds, number):
    """``worlds[number]`` if ``wanted``, else ``world``."""
    return jnp.where(wanted, worlds[number], world)


@_replace_if.def_vmap
def _replace_any(axis_size, in_batched, wanted, world, worlds, number):
    """Under ``vmap``: touches the worlds only in steps where any is to be replaced, which are few."""
    if list(in_batched) != [True, True, False, True]:
        axes = [0 if batched else None for batched in in_batched]
        plain = jax.vmap(lambda a, b, c, d: jnp.where(a, c[d], b), axes, axis_size=axis_size)
        return plain(wanted, world, worlds, number), True

    def replace(world):
        return jnp.where(wanted[:, None], worlds[number], world)

    return jax.lax.cond(wanted.any(), replace, lambda world: world, world), True


def _controls(action):
    """(Controls, attack, use) of an action ``[A]``."""
    value = {name: action[i] for i, name in enumerate(SPEC.names)}
    signed = jnp.array([0.0, 1.0, -1.0])
    degrees = {
        n: jnp.array(SPEC.factors[SPEC.index(n)].camera.degrees, jnp.float32)[value[n]] for n in ("pitch", "yaw")
    }
    held = {name: value[name] > 0 for name in ("jump", "sneak", "sprint", "attack", "use")}
    attack, use = held.pop("attack"), held.pop("use")
    return Controls(ahead=signed[value["move"]], left=signed[value["strafe"]], **held, **degrees), attack, use


def _act(state, controls):
    """One tick without its end: (state, events)."""
    controls, attack, use = controls
    aim, body = state.aim, state.body
    near = aim.distance <= REACH
    target = index(*aim.cell)
    hardness = jnp.asarray(HARDNESS)[block_of(look_up(state.world, aim.cell))]
    mining = attack & near & (hardness > 0)
    progress = jnp.where(mining, jnp.where(target == state.mined, state.progress, 0) + 1, 0)
    breaks = mining & (progress >= hardness)
    room = (look_up(state.world, aim.entry) < SOLID) & ~physics.overlaps(body.position, aim.entry)
    places = use & ~breaks & near & room & (state.pause == 0)
    leaves = opened(state.world, aim.cell)
    cell = [jnp.where(breaks, broken, built) for broken, built in zip(aim.cell, aim.entry, strict=True)]
    world = set_block(state.world, cell, jnp.where(breaks, leaves, PLANKS), breaks | places)

    moved = physics.move(world, body, controls)
    under = index(*[jnp.floor(p).astype(jnp.int32) for p in body.position - jnp.array([0.0, 0.0, 0.5])])
    after = dataclasses.replace(
        state,
        age=state.age + 1,
        world=world,
        body=moved,
        mined=jnp.where(mining, target, -1),
        progress=jnp.where(breaks, 0, progress),
        pause=jnp.where(places, PLACE_PAUSE, jnp.maximum(state.pause - 1, 0)),
    )
    after = _sense(after)
    fallen = jnp.maximum(body.top, moved.position[2]) - moved.position[2]
    events = {
        "broke": breaks,
        "broke_support": breaks & body.grounded & (target == under),
        "flooded": breaks & (leaves == WATER),
        "placed": places,
        "jumped": body.grounded & ~state.wet & (moved.position[2] > body.position[2]) & ~moved.grounded,
        "fell": (fallen >= DEEP_FALL) & (body.top - body.position[2] < DEEP_FALL),
        "entered_water": after.wet & ~state.wet,
        "submerged": after.submerged & ~state.submerged,
        "face": after.close & ~state.close,
        "darkness": after.dark & ~state.dark,
    }
    return after, events


def _sense(state):
    """``state`` with what follows from its world and body: aim, wet, submerged, close, dark."""
    eye = physics.eye(state.body)
    hit = cast(state.world, list(eye), list(physics.gaze(state.body)), REACH_STRIDES)
    found = (hit.byte >= SOLID) & (hit.distance > 0)
    distance = jnp.where(found, hit.distance, jnp.inf)
    byte = look_up(state.world, [jnp.floor(p).astype(jnp.int32) for p in eye])
    return dataclasses.replace(
        state,
        aim=Aim(hit.cell, hit.entry, distance),
        wet=physics.wet(state.world, state.body.position.at[2].add(physics.WAIST)),
        submerged=block_of(byte) == WATER,
        close=distance < IN_THE_FACE,
        dark=(byte & LIGHT) <= DARK,
    )


def _no_events():
    return dict.fromkeys(EVENTS, jnp.bool_(False))


def _info(state, events):
    """Ground truth: pose, position, view, time, and the events as ``event_NAME``."""
    body = state.body
    heading = jnp.where(body.yaw > 0, 360.0 - body.yaw, -body.yaw)
    return {
        "pose": jnp.stack([body.position[0], body.position[1], heading]),
        "position": body.position,
        "pitch": body.pitch,
        "time": state.time,
        **{f"event_{name}": events[name] for name in EVENTS},
    }
