"""The real environment of one person: one copy, stepped when they act, let go of when they leave."""

import jax
import numpy as np

from prowl_jax.envs.device import keys


class DeviceWorld:
    """A ``DeviceEnv`` and its two programs, shared by all who play in it; ``begin`` gives each a world of their own."""

    settable = True

    def __init__(self, env):
        self.spec, self.frame_shape, self._env = env.spec, tuple(env.frame_shape), env
        # Without its frame: drawing is most of what there is to compile, and ``step`` draws as well.
        self._reset = jax.jit(lambda env, key: env.reset(key)[0])
        self._step = jax.jit(lambda env, state, action: env.step(state, action))
        self._compiled = False

    def compile_ahead(self):
        """Compile both, once."""
        if self._compiled:
            return
        key = jax.eval_shape(lambda: jax.random.key(0))
        self._reset = self._reset.lower(self._env, key).compile()
        action = jax.ShapeDtypeStruct((len(self.spec.sizes),), np.int32)
        self._step = self._step.lower(self._env, self._reset.out_info, action).compile()
        self._compiled = True

    def begin(self, seed, state=None):
        """A ``DeviceReality`` from ``seed``, or in a ``state`` of the environment."""
        key = keys(np.array([seed]), 1)[0]
        return DeviceReality(self._step, self._env, self._reset(self._env, key) if state is None else state)


class DeviceReality:
    """One person's world.

    Attributes:
      state: the environment's, immutable: it may be kept and begun from again.
    """

    def __init__(self, step, env, state):
        self._step, self._env, self.state = step, env, state

    def step(self, action):
        """Do ``action`` (int32 ``[A]``): (frame uint8 ``[H, W, 3]``, whether an episode ended, names of events)."""
        self.state, after = self._step(self._env, self.state, action)
        frame, done, info = jax.device_get((after.frame, after.done, after.info))
        happened = [name.removeprefix("event_") for name, value in info.items() if name.startswith("event_") and value]
        return np.array(frame), bool(done), happened

    def close(self):
        """Let go of the world. Safe to call twice."""
        self.state = self._env = None


class HostWorld:
    """Environments that live in processes of their own: one is started for each who plays.

    Args:
      make: ``f() -> HostEnv`` of one environment. spec, frame_shape: its.
    """

    settable = False

    def __init__(self, make, spec, frame_shape):
        self._make, self.spec, self.frame_shape = make, spec, tuple(frame_shape)

    def compile_ahead(self):
        """There is nothing to compile."""

    def begin(self, seed, state=None):
        """A ``HostReality`` from ``seed``; ``state`` cannot be had here."""
        if state is not None:
            raise ValueError("this environment cannot be set to a state")
        return HostReality(self._make(), seed)


class HostReality:
    """One person's environment in its own process."""

    state = None

    def __init__(self, env, seed):
        self._env = env
        env.reset(np.array([seed]))

    def step(self, action):
        """As ``DeviceReality.step``."""
        after = self._env.step(np.asarray(action)[None])
        happened = [n.removeprefix("event_") for n, v in after.info.items() if n.startswith("event_") and v[0]]
        return np.array(after.frames[0]), bool(after.done[0]), happened

    def close(self):
        """End the process. Safe to call twice."""
        self._env.close()
