"""A ``HostEnv`` made of a ``DeviceEnv``: for everything that steps environments from NumPy."""

import jax
import numpy as np

from prowl_jax.envs.base import DeviceEnv, Step


class DeviceVectorEnv:
    """N environments of one ``DeviceEnv``, stepped together by one jitted function; a ``HostEnv``.

    Args:
      env: the environment.
      num_envs: N.
    """

    def __init__(self, env: DeviceEnv, num_envs: int):
        if num_envs < 1:
            raise ValueError(f"num_envs must be positive, got {num_envs}")
        self.spec, self.num_envs, self.frame_shape = env.spec, num_envs, tuple(env.frame_shape)
        self._env, self._state, self._closed = env, None, False

    def reset(self, seeds) -> Step:
        """Start every environment's episode from ``seeds``, non-negative ints ``[N]``."""
        if self._closed:
            raise RuntimeError("the environments are closed")
        self._state, step = _reset(self._env, keys(seeds, self.num_envs))
        return _to_host(step)

    def step(self, actions) -> Step:
        """Do ``actions`` (int32 ``[N, A]``); ValueError names a factor that is out of range."""
        if self._closed:
            raise RuntimeError("the environments are closed")
        if self._state is None:
            raise RuntimeError("reset the environments before the first step")
        actions = self.spec.check(actions)
        if actions.shape[0] != self.num_envs or actions.ndim != 2:
            raise ValueError(f"actions must be [{self.num_envs}, A], got {actions.shape}")
        self._state, step = _step(self._env, self._state, actions)
        return _to_host(step)

    @property
    def state(self):
        """The environments' states, leaves ``[N, ...]``; they are donated to the next ``step``."""
        return self._state

    def close(self) -> None:
        """Let go of the state. Safe to call twice."""
        self._state, self._closed = None, True


def keys(seeds, num_envs):
    """One key a seed: non-negative ints ``[N]`` of up to 64 bits -> typed keys ``[N]``.

    Raises:
      ValueError: seeds of another shape or type, or negative ones.
    """
    seeds = np.asarray(seeds)
    if seeds.shape != (num_envs,) or seeds.dtype.kind not in "iu" or (seeds < 0).any():
        raise ValueError(f"seeds must be {num_envs} non-negative ints, got {seeds!r}")
    seeds = seeds.astype(np.uint64)
    halves = np.stack([seeds >> np.uint64(32), seeds & np.uint64(0xFFFFFFFF)], axis=-1)
    return jax.random.wrap_key_data(halves.astype(np.uint32), impl="threefry2x32")


@jax.jit
def _reset(env, keys):
    return jax.vmap(env.reset)(keys)


@jax.jit(donate_argnums=1)
def _step(env, state, actions):
    return jax.vmap(env.step)(state, actions)


def _to_host(step):
    """Copies: what JAX hands out may be memory that a later step writes to."""
    frames, done, info = jax.tree.map(np.array, tuple(step))
    return Step(frames, done, info)
