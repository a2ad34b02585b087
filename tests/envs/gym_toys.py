"""Small environments of Gymnasium's interface, for tests: a dot on a field, and ones that misbehave."""

import gymnasium
import numpy as np
from gymnasium import spaces

SIZE = (20, 30)


class Dot(gymnasium.Env):
    """Grey frames; a dot that ``up``, ``right`` and a wheel move. Its fault shows in the third step."""

    observation_space = spaces.Dict(
        {"picture": spaces.Box(0, 255, SIZE, np.uint8), "speed": spaces.Box(-1, 1, (1,), np.float32)}
    )
    action_space = spaces.Dict({"keys": spaces.MultiBinary(2), "wheel": spaces.Box(-2.0, 2.0, (1,), np.float32)})

    def __init__(self, fault="", length=50):
        self.fault, self.length = fault, length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.steps = int(self.np_random.integers(5, 20)), 0
        return self._see(), {}

    def step(self, action):
        assert Dot.action_space.contains(action), action
        self.steps += 1
        self.x = int(self.x + action["keys"][1] + round(float(action["wheel"][0]))) % SIZE[1]
        return self._see(), 0.0, False, self.steps >= self.length, {}

    def _see(self):
        broken = self.steps == 3
        picture = np.zeros((SIZE[0] + (broken and self.fault == "size"), SIZE[1]), np.uint8)
        picture[:, self.x] = 200
        return {"picture": picture, "speed": np.array([np.nan if broken and self.fault == "nan" else 0.0], np.float32)}


class Brittle(Dot):
    """It is over as soon as its first key is pressed."""

    def step(self, action):
        seen, reward, _, truncated, info = super().step(action)
        return seen, reward, bool(action["keys"][0]), truncated, info


class Words(Dot):
    """Nobody can press these."""

    action_space = spaces.Text(5)


class Endless(Dot):
    """A wheel without limits."""

    action_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)


class Old(Dot):
    """The API of gym before 0.26."""

    def reset(self, **_):
        return super().reset()[0]


def to_the_right(spec):
    """A policy: a function of what is seen."""
    del spec
    return lambda seen, frame: [0, 1, 2]


class Short(Dot):
    """It ends where its wheel is at its lower limit and no key is down."""

    def step(self, action):
        seen, reward, _, truncated, info = super().step(action)
        return seen, reward, bool(action["wheel"][0] <= -2.0 and not action["keys"].any()), truncated, info


def quitter(spec):
    """A policy that ends it."""
    del spec
    return lambda seen, frame: [0, 0, 0]


class Plain(Dot):
    """It shows its picture alone."""

    observation_space = Dot.observation_space["picture"]

    def _see(self):
        return super()._see()["picture"]


class Pole(Plain):
    """It is pushed to one side or to the other."""

    action_space = spaces.Discrete(2)

    def step(self, action):
        return super().step({"keys": np.array([0, action], np.int8), "wheel": np.zeros(1, np.float32)})


def make_vector(num_envs, mode="NextStep", kind="Plain", **arguments):
    """Several of them, stepped together."""
    made = [lambda: globals()[kind](**arguments)] * num_envs
    return gymnasium.vector.SyncVectorEnv(made, autoreset_mode=gymnasium.vector.AutoresetMode(mode))
