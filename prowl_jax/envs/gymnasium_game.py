"""One environment of Gymnasium (https://gymnasium.farama.org, 1.0 or later), as a worker process drives it."""

import functools
import importlib
import importlib.util
import json
import os
import sys

import numpy as np

from prowl_jax.envs.action_spaces import Actions
from prowl_jax.envs.area_average import AreaAverage
from prowl_jax.envs.pool import Pool

REGISTERED_BY = {
    "ALE/": "ale_py",
    "MiniGrid-": "minigrid",
    "BabyAI-": "minigrid",
    "MiniWorld-": "miniworld",
    "Vizdoom": "vizdoom.gymnasium_wrapper",
}
"""How IDs begin -> the module that has to be imported for Gymnasium to know them."""
SHOWN = 128
"""So many numbers of an observation a demonstrator is given."""


def named(text):
    """What ``"module:function"`` or ``"file.py:function"`` names, None where there is no such module or name.

    Errors in the module itself are passed on.
    """
    place, _, name = text.rpartition(":")
    if not place or not name.isidentifier():
        return None
    if place.endswith(".py"):
        if not os.path.exists(place):
            return None
        spec = importlib.util.spec_from_file_location(os.path.basename(place)[:-3], place)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return getattr(module, name, None)
    try:
        return getattr(importlib.import_module(place), name, None)
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(f"{error.name}.")):
            return None
        raise


def installed():
    """The module ``gymnasium``; ValueError of one line where it is not there, or too old."""
    try:
        import gymnasium
    except ImportError:
        raise ValueError("env.name=gymnasium needs the package gymnasium: pip install 'gymnasium>=1.0'") from None
    if int(gymnasium.__version__.split(".")[0]) < 1:
        raise ValueError(f"gymnasium {gymnasium.__version__} is too old: pip install 'gymnasium>=1.0'")
    return gymnasium


def make_env(settings, num_envs=None):
    """The ``gymnasium.Env`` that ``settings`` (``gymnasium.Gymnasium``) name, or so many as a ``VectorEnv``.

    ``envpool:ID`` are environments of envpool: always several.

    Raises:
      ValueError: there is none, or it cannot be made; one line that names it and the cure.
    """
    gymnasium, make = installed(), settings.make_with
    arguments = json.loads(settings.arguments or "{}")
    vector = {} if num_envs is None else {"num_envs": num_envs}
    if make.startswith("envpool:") and num_envs is None:
        raise ValueError(f"env.gymnasium.make={make} makes many at once: set env.gymnasium.vector=True")
    try:
        if make.startswith("envpool:"):
            return Pool(make.removeprefix("envpool:"), num_envs, arguments)
        function = named(make)
        if function is not None:
            return _environment(function(**vector, **arguments))
        if make.rpartition(":")[0].endswith(".py"):
            raise FileNotFoundError("there is no such file, or no such function in it")
        for start, module in REGISTERED_BY.items():
            if make.startswith(start):
                _draw_without_a_screen()
                importlib.import_module(module)
        drawn = {"render_mode": "rgb_array", **arguments}
        if num_envs is not None:
            # Its processes would be forked beside JAX's threads; and an ID's own vector form takes no seed each.
            return gymnasium.make_vec(make, **vector, **{"vectorization_mode": "sync", **drawn})
        return gymnasium.make(make, disable_env_checker=True, **drawn)
    except ModuleNotFoundError as error:
        raise ValueError(f"env.gymnasium.make={make} needs a package: {said(error)}") from None
    except gymnasium.error.UnregisteredEnv as error:
        raise ValueError(f"env.gymnasium.make={make}: {said(error)} (an ID, or module:function)") from None
    except Exception as error:  # whatever an environment of somebody's may raise
        raise ValueError(f"env.gymnasium.make={make} cannot be made: {said(error)}") from error


def _environment(made):
    if not (hasattr(made, "step") and hasattr(made, "action_space")):
        raise TypeError(f"it returned {type(made).__name__}, which is no environment of Gymnasium")
    return made


def _draw_without_a_screen():
    """Where there is no screen, let pyglet (MiniWorld's; it asks when it is imported) draw with EGL: on Linux alone."""
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("PYGLET_HEADLESS", "true")


def said(error):
    """An exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


class Game:
    """A ``worker_process.SingleEnv``; its frames are as the environment has them, for ``Picture`` to finish.

    Its info is ``observation``, float32 ``[n]``, where that is a row of at most ``SHOWN`` numbers: for a demonstrator.

    Raises (any method): ValueError in one line of an observation with NaN, of frames that are none, of an old API.
    """

    def __init__(self, settings):
        self.settings, self.env = settings, make_env(settings)
        self.picture = frame_source(settings.frames, self.env.observation_space)
        self.actions = Actions(self.env.action_space, settings, labels_of(self.env))

    def reset(self, seed):
        """A new episode."""
        answer = self.env.reset(seed=int(seed) & 0x7FFFFFFF)  # of engines in C as well
        if not (isinstance(answer, tuple) and len(answer) == 2):
            raise ValueError("reset returned no (observation, info): Gymnasium 1.0's API is needed, or a wrapper")
        self.actions.reset()
        return self._see(answer[0])

    def step(self, action):
        """``frame_skip`` steps of one action, fewer where the episode ends."""
        action = self.actions(action)
        for _ in range(self.settings.frame_skip):
            answer = self.env.step(action)
            if len(answer) != 5:
                raise ValueError(f"step returned {len(answer)} things: Gymnasium 1.0's API has five, or a wrapper")
            observation, _, terminated, truncated, _ = answer
            if terminated or truncated:
                return None, True, None
        frame, info = self._see(observation)
        return frame, False, info

    def close(self):
        """End the environment."""
        self.env.close()

    def _see(self, observation):
        return self.picture(self.env, finite(observation)), row_of(observation)


def labels_of(env):
    """What the values of a ``Discrete`` action space mean, where the environment says: names, or None."""
    env = getattr(env, "unwrapped", env)
    if callable(meanings := getattr(env, "get_action_meanings", None)):
        return [str(word).lower() for word in meanings()]
    members = getattr(getattr(env, "actions", None), "__members__", None)  # an enumeration, in MiniGrid and MiniWorld
    return list(members) if members else None


def finite(observation):
    """``observation``; ValueError where a number in it is NaN or infinite."""
    parts = observation.values() if isinstance(observation, dict) else [observation]
    for part in parts:
        if isinstance(part, np.ndarray) and part.dtype.kind == "f" and not np.isfinite(part).all():
            raise ValueError("an observation has NaN or infinite numbers; mend the environment, or wrap it")
    return observation


def row_of(observation):
    """The info of a step, see ``Game``."""
    if isinstance(observation, np.ndarray) and observation.ndim == 1 and 0 < observation.size <= SHOWN:
        return {"observation": observation.astype(np.float32)}
    return {}


def frame_source(frames, space):
    """``f(env, observation) -> picture``: from the observation, a key of it, or ``render()``.

    Args:
      frames: the setting; "" takes the observation where it is a picture.
      space: of the observations.

    Raises:
      ValueError: a key that is not there.
    """
    from gymnasium import spaces

    if frames == "render" or not frames and not _pictures(space):
        return _rendered
    if not frames:
        return lambda env, observation: observation
    keys = list(space.spaces) if isinstance(space, spaces.Dict) else []
    if frames not in keys:
        there = f"there are {', '.join(keys)}" if keys else f"an observation is one {type(space).__name__}"
        raise ValueError(f"env.gymnasium.frames={frames} is no key of the observation: {there}; or set render")
    return lambda env, observation: observation[frames]


def _pictures(space):
    """Whether observations are pictures."""
    shape = getattr(space, "shape", None) or ()
    return len(shape) in (2, 3) and min(shape[:2]) > 4 and getattr(space, "dtype", None) == np.uint8


def _rendered(env, observation):
    frame = env.render()
    if frame is None:
        raise ValueError('render() returned nothing; make the environment with render_mode="rgb_array"')
    return frame


class Picture:
    """Makes what an environment shows uint8 ``[H, W, 3]``: grey or colour, of any size, by area averages.

    ``[h, w]``, ``[h, w, 1]``, ``[h, w, 3]``, ``[h, w, 4]`` (without its last), ``[1, h, w]`` or ``[3, h, w]``; uint8,
    or floats within 0..1. The whole picture is kept: of another shape than the target's it is squeezed.

    Raises (calling it): ValueError of anything else, and of a frame of another size than the first.
    """

    def __init__(self, target):
        self.target, self.seen = tuple(target), None

    def __call__(self, frame):
        """A frame of ``target``'s size."""
        frame = _coloured(np.asarray(frame))
        self.seen = self.seen or frame.shape
        if frame.shape != self.seen:
            raise ValueError(f"a frame is {_size(frame.shape)}, the first was {_size(self.seen)}; wrap the environment")
        return _average(frame.shape[:2], self.target)(frame)


def _size(shape):
    return f"{shape[0]}x{shape[1]}"


@functools.cache
def _average(source, target):
    return np.ascontiguousarray if source == target else AreaAverage(source, target)


def _coloured(frame):
    """uint8 ``[h, w, 3]``."""
    shape = frame.shape
    if frame.ndim == 2:
        frame = frame[..., None]
    elif frame.ndim == 3 and shape[-1] not in (1, 3, 4) and shape[0] in (1, 3):
        frame = frame.transpose(1, 2, 0)
    if frame.ndim != 3 or frame.shape[-1] not in (1, 3, 4):
        raise ValueError(f"a frame has the shape {shape}, which is no picture; set env.gymnasium.frames")
    if frame.dtype.kind == "f":
        if not (frame.min() >= 0 and frame.max() <= 1 + 1e-6):
            raise ValueError(f"a frame of {frame.dtype} goes from {frame.min():g} to {frame.max():g}, not within 0..1")
        frame = (frame * 255 + 0.5).astype(np.uint8)
    if frame.dtype != np.uint8:
        raise ValueError(f"a frame is {frame.dtype}, not uint8 or floats within 0..1")
    return np.ascontiguousarray(np.broadcast_to(frame[..., :3], (*frame.shape[:2], 3)))
