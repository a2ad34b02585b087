"""Environments of envpool (https://envpool.readthedocs.io, 1.2 or later) in the form of ``gymnasium.vector``."""

import numpy as np


class Pool:
    """N environments of envpool. All that is not said here they have themselves.

    Their seeds are fixed when they are made, so a reset makes them anew: milliseconds. And of all of them one alone is
    rendered, if nobody asks for more.

    Args:
      name: an ID of envpool. num_envs: N. arguments: of ``envpool.make``, a dict.

    Raises:
      ModuleNotFoundError: envpool is not there.
    """

    def __init__(self, name, num_envs, arguments):
        import envpool

        given = {"render_mode": "rgb_array", **arguments, "env_type": "gymnasium", "num_envs": num_envs}
        self._make = lambda seeds: envpool.make(name, seed=list(seeds), **given)
        self.num_envs = num_envs
        self._envs = self._make(range(num_envs))

    def __getattr__(self, name):
        return getattr(self._envs, name)

    def reset(self, *, seed):
        """(observations, infos) of new environments with ``seed``, N ints within 0..2**31 - 1."""
        self._envs.close()
        self._envs = self._make(seed)
        return self._envs.reset()

    def render(self):
        """uint8 ``[N, h, w, 3]``."""
        return self._envs.render(env_ids=np.arange(self.num_envs))
