"""How scripted demonstrators act: a plan of activities, and one executor that moves a little like a person.

A demonstrator is a queue of ``Activity``s, such as "turn 70 degrees left while walking", filled by a
plan of its own (``behaviours.py``) and emptied by one executor that turns smoothly (a first-order filter
with noise, then quantised to the camera's bins) and walks away from walls. Pose steers them; a
model never sees it. What they do is varied, so that actions matter to the video, and smooth,
so that a policy can be cloned from it. ``Gaps`` leave out some of it.
"""

import collections
import dataclasses

import numpy as np

from prowl_jax.actions import ActionSpec
from prowl_jax.envs.gaps import THINGS, Gaps, slow_bins, without

FORWARD, BACK, LEFT, RIGHT = 1, 2, 1, 2

SMOOTHING = 0.1  # share of the last step's turning speed that the next one keeps
FAR_DEGREES = 25.0  # left to turn
REST, GLANCE = 0.85, 0.25  # chance that a rest follows a stroke of the hand, and that a stroke glances aside
DONE_DEGREES = 6.0  # a turn with less than this left is over; the rest goes to the next one
STUCK_STEPS, STUCK_DISTANCE = 4, 25.0  # free walking covers about 30 map units a step

MEMORY_STEPS, FREE_DISTANCE = 80, 120.0


@dataclasses.dataclass(frozen=True)
class Activity:
    """Something done for ``steps`` steps, and for as long as a turn is unfinished.

    Attributes:
      steps: least number of steps.
      turn: degrees to turn in all, + to the right.
      speed: fastest turning, degrees a step.
      move, strafe: values of these factors; 0 for none.
      attack, use: chance of pressing it in a step.
    """

    steps: int = 1
    turn: float = 0.0
    speed: float = 8.0
    move: int = 0
    strafe: int = 0
    attack: float = 0.01
    use: float = 0.005


class Demonstrator:
    """The executor. A subclass plans: it returns the next few activities.

    Args:
      spec: the action factors, with those of ``vizdoom.action_spec`` among them.
      seed: of everything random.
      gaps: what it leaves out, drawn anew for every activity.
    """

    wobble = 0.12  # noise in the turning speed, as a share of it

    def __init__(self, spec: ActionSpec, seed: int, gaps: Gaps | None = None):
        self.spec, self.gaps = spec, (gaps or Gaps()).check(spec)
        self.column = {name: spec.index(name) for name in ("move", "strafe", "attack", "use", "yaw")}
        self.camera = spec.factors[self.column["yaw"]].camera
        self.reset(seed)

    def reset(self, seed: int):
        """Forget everything and start over."""
        self.rng, self.gap_rng = np.random.default_rng(seed), np.random.default_rng([seed, 1])
        self.allowed = dict.fromkeys(THINGS, True)
        self.queue: list = []
        self.trail: collections.deque = collections.deque(maxlen=STUCK_STEPS)
        self.past: collections.deque = collections.deque(maxlen=MEMORY_STEPS)
        self.now, self.age, self.left, self.speed = Activity(), 1, 0.0, 0.0
        self.stroke, self.aim, self.resting = 0, 0.0, False

    def plan(self, pose, frame):
        """The next activities, a non-empty list."""
        raise NotImplementedError

    def act(self, pose, frame=None):
        """The action for what is seen: pose ``[3]``, frame uint8 ``[H, W, 3]`` -> int32 ``[A]``."""
        if self._stuck(pose):
            self.trail.clear()
            self.queue, self.age = self.escape(pose), self.now.steps
            self.left = 0.0
        while self.age >= self.now.steps and abs(self.left) < DONE_DEGREES:
            if not self.queue:
                self.queue = list(self.plan(pose, frame))
            self.now, self.age = self.queue.pop(0), 0
            self.left += self.now.turn
            self.allowed = {thing: self.gap_rng.random() < c for thing, c in self.gaps.chances.items()}
        self.past.append((pose[0], pose[1]))
        value = without(self._keys(), self.allowed)
        value["yaw"] = self._turn(self._fastest(value["strafe"] > 0))
        self.age += 1
        action = self.spec.null
        action[[self.column[name] for name in value]] = list(value.values())
        self.trail.append((pose[0], pose[1], bool(value["move"] or value["strafe"])))
        return action

    def escape(self, pose):
        """What to do at a wall: perhaps open it or step back, then walk where it was free before."""
        turn, speed = self.sign() * self.rng.uniform(60, 140), self.rng.uniform(7, 11)
        places = [p for p in self.past if np.hypot(p[0] - pose[0], p[1] - pose[1]) > FREE_DISTANCE]
        if places:
            place = places[self.rng.integers(len(places))]
            turn = bearing(pose, place) + self.rng.normal(0, 25)
        away = [
            Activity(steps=2, turn=turn, speed=speed, move=FORWARD if self.rng.random() < 0.7 else 0),
            Activity(steps=self.steps(3, 8), move=FORWARD),
        ]
        first = self.rng.random()
        if first < 0.2:
            return [Activity(steps=self.steps(2, 4), move=BACK), *away]
        if first < 0.4:
            return [Activity(steps=3, move=FORWARD, use=0.5), *away]
        return away

    def sign(self):
        """-1.0 or 1.0."""
        return self.rng.choice((-1.0, 1.0))

    def steps(self, least, most):
        """A random number of steps, both ends included."""
        return int(self.rng.integers(least, most + 1))

    def _keys(self):
        """What the activity presses in this step: dict, factor's name -> value."""
        waits = self.age >= self.now.steps and not self.allowed["strafe_turning"]  # has strafed, and now turns
        return {
            "move": self.now.move,
            "strafe": 0 if waits else self.now.strafe,
            "attack": self.rng.random() < self.now.attack,
            "use": self.rng.random() < self.now.use,
        }

    def _fastest(self, strafes):
        """How many bins from the middle a turn may be."""
        if strafes and not self.allowed["strafe_turning"]:
            return 0
        return self.camera.bins // 2 if self.allowed["fast_turn"] else slow_bins(self.camera, self.gaps.fast_degrees)

    def _turn(self, fastest):
        """One step of turning: the yaw bin, at most ``fastest`` from the middle.

        The hand moves in strokes of a few steps, with rests. A stroke goes towards what is left to turn,
        now and then the other way (a glance), and what a glance undid is turned again: so where the next
        frame looks is not told by the last ones.
        """
        if self.stroke <= 0:
            far = abs(self.left) >= FAR_DEGREES  # a long way to turn leaves no time for glances
            self.resting = not self.resting and self.rng.random() < REST
            self.stroke = self.steps(1, 2 if far and self.resting else 3)
            purpose = np.sign(self.left) if abs(self.left) > DONE_DEGREES else self.sign()
            if self.resting:
                self.aim = 0.0
            elif far:
                self.aim = purpose * self.rng.uniform(0.6, 1.4) * self.now.speed
            elif self.rng.random() < GLANCE:
                self.aim = -purpose * self.rng.uniform(0.3, 1.0) * self.now.speed
            else:
                self.aim = purpose * min(self.rng.uniform(0.3, 1.2) * self.now.speed, max(3.0, abs(self.left) / 2))
        self.stroke -= 1
        noise = self.wobble * abs(self.speed) * self.rng.normal()
        self.speed = SMOOTHING * self.speed + (1 - SMOOTHING) * self.aim + noise
        middle = self.camera.bins // 2
        bin_ = int(np.clip(self.camera.encode(self.speed), middle - fastest, middle + fastest))
        self.left -= float(self.camera.decode(bin_))
        return bin_

    def _stuck(self, pose):
        """Whether the last steps all meant to go somewhere and did not, and no turn is under way."""
        moving = len(self.trail) == STUCK_STEPS and all(moved for _, _, moved in self.trail)
        if not moving or abs(self.left) >= DONE_DEGREES:
            return False
        x, y, _ = self.trail[0]
        return np.hypot(pose[0] - x, pose[1] - y) < STUCK_DISTANCE


def bearing(pose, place):
    """Degrees to turn (+ right, -180..180) at pose (x, y, angle) to face the point ``place``."""
    angle = np.degrees(np.arctan2(place[1] - pose[1], place[0] - pose[0]))
    return float((pose[2] - angle + 180.0) % 360.0 - 180.0)
