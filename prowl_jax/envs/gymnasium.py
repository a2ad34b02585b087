"""Any environment of Gymnasium as a configuration names it (docs/your_world.md).

    env.name=gymnasium  env.gymnasium.make=CarRacing-v3

Its actions are derived from its action space (``action_spaces``), its frames from what it shows (``gymnasium_game``);
where no policy is named, random hands demonstrate it (``hands``).
"""

import contextlib
import dataclasses
import functools
import json

import numpy as np

from prowl_jax.envs.action_spaces import Actions, ActionSettings
from prowl_jax.envs.environment import Environment
from prowl_jax.envs.gymnasium_game import Game, Picture, labels_of, make_env, named, said
from prowl_jax.envs.gymnasium_vector import VectorHost
from prowl_jax.envs.hands import Hands, HandSettings, Restless
from prowl_jax.envs.workers import EnvironmentFailure, ProcessVectorEnv
from prowl_jax.settings import COUNT, Check, setting

LOOKED_AT = 8
"""Steps that a game is played before a run begins: does it start, and show pictures of one size?"""


def _is_object(text):
    try:
        return isinstance(json.loads(text or "{}"), dict)
    except ValueError:
        return False


@dataclasses.dataclass(frozen=True)
class Gymnasium(HandSettings, ActionSettings, Environment):
    """An environment of somebody's. ``play`` is what the demonstrator does; ``restless`` draws every step anew."""

    name = "gymnasium"
    tasks = {"play": False, "restless": True}
    identity = ("make_with", "arguments", "frame_skip")
    checks = (
        (lambda settings: settings.make, "make is empty; name an ID of Gymnasium, or module:function"),
        (lambda settings: not settings.vector or settings.frame_skip == 1, "vector=True skips no frames: frame_skip=1"),
    )

    make_with: str = setting("CartPole-v1", "an ID of Gymnasium, envpool:ID, [module|file.py]:function", key="make")
    arguments: str = setting("", "of what makes it, as JSON: {...}", Check(_is_object, "is no JSON object"))
    frames: str = setting("", "render, or a key of the observation; empty: the observation if it is a picture")
    vector: bool = setting(False, "make gives a gymnasium.vector.VectorEnv, or envpool's, of num_envs: used as it is")
    frame_skip: int = setting(1, "steps of the environment that an action is held", COUNT)
    shown_by: str = setting(
        "", "module:function or file.py:function that makes a policy; empty: random hands", key="demonstrator"
    )

    @property
    def spec(self):
        """The factors of its action space; ValueError in one line where that cannot be looked at or cut."""
        return _looked_at(dataclasses.replace(self, frame_size=(64, 64), workers=1, restarts=0, seed=0))

    def check_installed(self):
        """It can be made, its actions are factors, and it plays a few steps; the policy is there."""
        self.demonstrator("play")
        hands = Hands(self.spec, self)
        if self.vector:
            with _one_line(self), contextlib.closing(VectorHost(self, 1)) as env:
                env.reset([0])
                env.step(env.spec.null[None])
            return
        with _one_line(self), contextlib.closing(Game(self)) as game:
            picture = Picture(self.frame_size)
            picture(game.reset(0)[0])
            for _ in range(LOOKED_AT):
                frame, done, _ = game.step(hands.act())
                picture(game.reset(1)[0] if done else frame)

    def make(self, task, num_envs):
        """Games in worker processes, or those of a vector environment wherever it has them."""
        if self.vector:
            return VectorHost(self, num_envs)
        return ProcessVectorEnv(
            functools.partial(Game, self), num_envs, self.workers, self.spec, (*self.frame_size, 3),
            finish=Picture(self.frame_size), restarts=self.restarts,
        )  # fmt: skip

    def demonstrator(self, task, gaps=None):
        """``Hands``, ``Restless``, or what ``env.gymnasium.demonstrator`` makes of the ``ActionSpec``."""
        if gaps:
            raise ValueError("demonstrations.gaps cannot be planted: neither hands nor policies know them")
        if task == "restless":
            return Restless(self.spec)
        if not self.shown_by:
            return Hands(self.spec, self)
        with _one_line(self, "demonstrator", self.shown_by):
            function = named(self.shown_by)
            if function is None:
                raise ValueError("there is no such function; write module:function or file.py:function")
            made = function(self.spec)
            return made if hasattr(made, "act") else Player(made)


class Player:
    """A function of what is seen as a demonstrator: ``f(observation or None, frame) -> int [A]``."""

    def __init__(self, function):
        self.act = lambda seen, frame: np.asarray(function(seen, frame), np.int32).reshape(-1)

    def reset(self, seed):
        """It remembers nothing."""


@contextlib.contextmanager
def _one_line(settings, key="make", value=None):
    """Whatever an environment or a policy of somebody's raises, as a ValueError that names it."""
    try:
        yield
    except Exception as error:
        words = str(error) if isinstance(error, (ValueError, EnvironmentFailure)) else said(error)
        start = f"env.gymnasium.{key}={value or settings.make_with}"
        raise ValueError(words if words.startswith("env.") else f"{start}: {words}") from error


@functools.cache
def _looked_at(settings):
    """The spec of an environment that is made for that, once."""
    if settings.vector:
        with _one_line(settings), contextlib.closing(VectorHost(settings, 1)) as env:
            return env.spec
    with _one_line(settings), contextlib.closing(make_env(settings)) as env:
        return Actions(env.action_space, settings, labels_of(env)).spec
