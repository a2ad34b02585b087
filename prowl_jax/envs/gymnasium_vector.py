"""A ``gymnasium.vector.VectorEnv``, or envpool's, used as it is: a ``HostEnv`` without processes of ours."""

import contextlib

import numpy as np

from prowl_jax.envs.action_spaces import Actions
from prowl_jax.envs.base import Step
from prowl_jax.envs.gymnasium_game import Picture, finite, frame_source, labels_of, make_env, row_of, said
from prowl_jax.envs.workers import EnvironmentFailure


class VectorHost:
    """N environments that somebody else steps together; a ``HostEnv``.

    How an episode ends there decides what is told as its end here. ``SAME_STEP``: the step that ends it. ``NEXT_STEP``
    (Gymnasium's default, and envpool's): the step after, which begins the next one whatever the action; the last frame
    then counts, and the action on it is the one that is seen to end the episode. ``DISABLED``: those that ended are
    reset in the same step.

    Args:
      settings: ``gymnasium.Gymnasium``.
      num_envs: N.

    Raises (``reset``, ``step``):
      EnvironmentFailure: one line of what one of them raised, or showed. They are not started again: where one is gone,
        nobody here knows what became of the others.
    """

    def __init__(self, settings, num_envs):
        self.settings, self.num_envs, self.frame_shape = settings, num_envs, (*settings.frame_size, 3)
        self.env = make_env(settings, num_envs)
        if self.env.num_envs != num_envs:
            raise ValueError(f"env.gymnasium.make={settings.make_with} made {self.env.num_envs}, not {num_envs}")
        space, labels = self.env.single_action_space, labels_of(self.env)
        self.actions = [Actions(space, settings, labels) for _ in range(num_envs)]
        self.spec, self.picture = self.actions[0].spec, Picture(settings.frame_size)
        self.source = frame_source(settings.frames, self.env.single_observation_space)
        mode = (getattr(self.env, "metadata", None) or {}).get("autoreset_mode", "NextStep")
        self.mode = str(getattr(mode, "value", mode))
        self.ended = None

    def reset(self, seeds) -> Step:
        """Start every environment's episode from ``seeds``, non-negative ints ``[N]``."""
        seeds = np.asarray(seeds)
        if seeds.shape != (self.num_envs,) or seeds.dtype.kind not in "iu" or (seeds < 0).any():
            raise ValueError(f"seeds must be {self.num_envs} non-negative ints, got {seeds!r}")
        self._check_open()
        self.ended = np.zeros(self.num_envs, bool)
        for actions in self.actions:
            actions.reset()
        with self._telling("reset"):
            observations, _ = self.env.reset(seed=[int(s) & 0x7FFFFFFF for s in seeds])
            return self._see(observations, self.ended)

    def step(self, actions) -> Step:
        """Do ``actions`` (int32 ``[N, A]``), each once: frames are not skipped here."""
        if self.ended is None:
            raise RuntimeError("reset the environments before the first step")
        self._check_open()
        actions = self.spec.check(actions)
        if actions.shape[0] != self.num_envs or actions.ndim != 2:
            raise ValueError(f"actions must be [{self.num_envs}, A], got {actions.shape}")
        each = [make(row) for make, row in zip(self.actions, actions, strict=True)]
        with self._telling("step"):
            observations, _, terminated, truncated, _ = self.env.step(_together(each))
            ended = np.asarray(terminated) | np.asarray(truncated)
            done, self.ended = (self.ended, ended) if self.mode == "NextStep" else (ended, ended)
            if self.mode == "Disabled" and ended.any():
                observations, _ = self.env.reset(options={"reset_mask": ended})
            for i in np.flatnonzero(done):
                self.actions[i].reset()
            return self._see(observations, done)

    def close(self) -> None:
        """End the environments. Safe to call twice."""
        if self.env is not None:
            self.env.close()
            self.env = None

    def _check_open(self):
        if self.env is None:
            raise RuntimeError("the environments are closed")

    @contextlib.contextmanager
    def _telling(self, what):
        try:
            yield
        except Exception as error:  # whatever environments of somebody's may raise
            raise EnvironmentFailure(f"the vector environment failed in {what}: {said(error)}") from error

    def _see(self, observations, done):
        pictures = self.source(self.env, finite(observations))
        rows = [row_of(row) for row in observations] if isinstance(observations, np.ndarray) else [{}]
        info = {"observation": np.stack([row["observation"] for row in rows])} if all(rows) else {}
        return Step(np.stack([self.picture(picture) for picture in pictures]), done.copy(), info)


def _together(actions):
    """N actions as the batch that a vector environment takes."""
    first = actions[0]
    if isinstance(first, dict):
        return {key: _together([action[key] for action in actions]) for key in first}
    if isinstance(first, tuple):
        return tuple(_together(list(parts)) for parts in zip(*actions, strict=True))
    return np.stack(actions)
