"""What there is to gain in ViZDoom, and who shows how: to stay alive, in its tasks in which a player can die.

``take_cover`` is World Models' task (arXiv 1803.10122): imps throw fireballs, and all a player can do is step aside.
In ``health_gathering`` (Kempka et al., arXiv 1605.02097) the floor burns and medikits heal. In both a step is worth the
tics that it lived, as in the scenarios' own configurations, and the end is death. Whoever would die is left with one
point of health instead, so that the last frame can be seen and an episode may go on.
"""

import dataclasses

import numpy as np

from prowl_jax.envs.activities import bearing

GOALS = {"survive": "tics of 1/35 s lived; death ends the episode (tics)"}
THINGS = 8
"""Things that a player who knows the goal is told of, the nearest ones."""
HIT, FAR_TICS, STRIDE = 42.0, 30.0, 9.0
"""Map units beside a fireball that are no longer safe; tics ahead that are looked; units that a tic aside leads."""
MARGIN, ENDS = 50.0, (20.0, 680.0)
"""Units kept from the ends of the place in ``take_cover``, and these ends."""


@dataclasses.dataclass(frozen=True)
class Survival:
    """An episode with something to gain.

    Attributes:
      steps: its limit. goes_on: who dies is healed and goes on, for recordings.
    """

    steps: int
    goes_on: bool = False


class Dodge:
    """Steps aside where fireballs are not going to be."""

    def __init__(self, spec):
        self.spec, self.strafe = spec, spec.index("strafe")

    def reset(self, seed):
        """Begin an episode."""
        self.rng, self.last = np.random.default_rng(seed), 0

    def act(self, pose, things):
        """The action, int32 ``[A]``: pose ``[3]``, things ``[n, 4]`` as of ``Game`` (the player looks along x)."""
        coming = things[things[:, 2] < 0]  # what is not there has no speed
        tics = np.minimum(-coming[:, 0] / coming[:, 2], FAR_TICS)
        lands = coming[:, 1] + tics * coming[:, 3]
        near = (coming[:, 0] > -20) / (1.0 + tics / 8.0)
        costs = []
        for value, side in enumerate((0.0, 1.0, -1.0)):  # none, left, right: y grows to the left
            apart = np.abs(lands - side * STRIDE * tics) / HIT
            cost = float((near * np.exp(-0.5 * apart**2)).sum())
            beyond = pose[1] + side * MARGIN
            cost += 0.5 * (beyond < ENDS[0] or beyond > ENDS[1]) - 0.05 * (value == self.last)
            costs.append(cost + 0.01 * self.rng.random())
        self.last = int(np.argmin(costs))
        action = self.spec.null
        action[self.strafe] = self.last
        return action


class Collect:
    """Walks to the nearest medikit."""

    def __init__(self, spec):
        self.spec, self.move, self.yaw = spec, spec.index("move"), spec.index("yaw")

    def reset(self, seed):
        """Begin an episode."""

    def act(self, pose, things):
        """The action, int32 ``[A]``, arguments as of ``Dodge.act``."""
        action, there = self.spec.null, things[np.any(things != 0, axis=1)]
        if not len(there):
            return action
        camera = self.spec.factors[self.yaw].camera
        turn = bearing(pose, pose[:2] + there[0, :2])
        action[self.yaw] = camera.encode(float(np.clip(turn, camera.degrees[0], camera.degrees[-1])))
        action[self.move] = int(abs(turn) < 40.0)
        return action


PLAYERS = {"take_cover": Dodge, "health_gathering": Collect}
"""Task -> who knows how to survive in it."""


def play(env, player, knows, steps, seeds):
    """Players act in a ``HostEnv`` with a goal; see ``Environment.rewarded_play``, whose answer it gives.

    Args:
      player: ``player() -> f`` with ``reset`` and ``act``. knows: whether they are told of ``things``, not of frames.
    """
    total, parts = len(seeds), []
    for begin in range(0, total, env.num_envs):
        own = np.resize(seeds[begin:], env.num_envs)
        players, step, rows = [player() for _ in own], env.reset(own), []
        for one, seed in zip(players, own, strict=True):
            one.reset([int(seed), 1] if knows else int(seed))
        for _ in range(steps):
            seen = step.info["things"] if knows else step.frames
            actions = np.stack([p.act(*of) for p, *of in zip(players, step.info["pose"], seen, strict=True)])
            frames = step.frames.copy()
            step = env.step(actions.astype(np.int32))
            told = {name: step.info[name].copy() for name in ("reward", "over")}
            rows.append((frames, actions, step.done.copy(), told))
        frames, actions, done, told = zip(*rows, strict=True)
        told = {name: np.stack([one[name] for one in told]) for name in told[0]}
        parts.append((np.stack(frames), np.stack(actions), np.stack(done), told))
    columns = [np.concatenate(column, axis=1)[:, :total] for column in zip(*(part[:3] for part in parts), strict=True)]
    info = {name: np.concatenate([part[3][name] for part in parts], axis=1)[:, :total] for name in ("reward", "over")}
    return (*columns, info)
