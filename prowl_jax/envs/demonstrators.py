"""Scripted demonstrators: they move a little like a person, and are no person.

Each is a queue of ``Activity``s, such as "turn 70 degrees left while walking", filled by a
plan of its own and emptied by one executor that turns smoothly (a first-order filter with
noise, then quantised to the camera's bins) and walks away from walls. Pose steers them; a
model never sees it. What they do is varied, so that actions matter to the video, and smooth,
so that a policy can be cloned from it.
"""

import collections
import dataclasses
import itertools

import numpy as np

from prowl_jax.actions import ActionSpec
from prowl_jax.envs.vizdoom import TASKS

FORWARD, BACK, LEFT, RIGHT = 1, 2, 1, 2

SMOOTHING = 0.1  # share of the last step's turning speed that the next one keeps
FAR_DEGREES = 25.0
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
    """

    wobble = 0.12  # noise in the turning speed, as a share of it

    def __init__(self, spec: ActionSpec, seed: int):
        self.spec = spec
        self.column = {name: spec.index(name) for name in ("move", "strafe", "attack", "use", "yaw")}
        self.camera = spec.factors[self.column["yaw"]].camera
        self.reset(seed)

    def reset(self, seed: int):
        """Forget everything and start over."""
        self.rng = np.random.default_rng(seed)
        self.queue, self.trail = [], collections.deque(maxlen=STUCK_STEPS)
        self.past = collections.deque(maxlen=MEMORY_STEPS)
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
        self.age += 1
        self.past.append((pose[0], pose[1]))
        action = self.spec.null
        action[self.column["move"]] = self.now.move
        action[self.column["strafe"]] = self.now.strafe
        action[self.column["attack"]] = self.rng.random() < self.now.attack
        action[self.column["use"]] = self.rng.random() < self.now.use
        action[self.column["yaw"]] = self._turn()
        self.trail.append((pose[0], pose[1], bool(self.now.move or self.now.strafe)))
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

    def _turn(self):
        """One step of turning: the yaw bin. The hand moves in strokes of a few steps, with rests.

        A stroke goes towards what is left to turn, now and then the other way (a glance), and what
        a glance undid is turned again: so where the next frame looks is not told by the last ones.
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
        bin_ = int(self.camera.encode(self.speed))
        self.left -= float(self.camera.decode(bin_))
        return bin_

    def _stuck(self, pose):
        """Whether the last steps all meant to go somewhere and did not, and no turn is under way."""
        moving = len(self.trail) == STUCK_STEPS and all(moved for _, _, moved in self.trail)
        if not moving or abs(self.left) >= DONE_DEGREES:
            return False
        x, y, _ = self.trail[0]
        return np.hypot(pose[0] - x, pose[1] - y) < STUCK_DISTANCE


class Explore(Demonstrator):
    """Walks, turning to new headings with purpose; sometimes stops to look, or side-steps."""

    def plan(self, pose, frame):
        """A turn while walking and a stretch ahead, a look around, or a side-step."""
        kind, speed = self.rng.random(), self.rng.uniform(4.0, 11.0)
        heading = self.sign() * self.rng.uniform(10, 60)
        if kind < 0.7:
            walk = FORWARD if self.rng.random() < 0.85 else 0
            return [
                Activity(steps=2, turn=heading, speed=speed, move=walk),
                Activity(steps=self.steps(5, 14), move=FORWARD),
            ]
        if kind < 0.78:
            return [
                Activity(steps=2, turn=heading, speed=speed),
                Activity(steps=self.steps(1, 3)),
                Activity(steps=2, turn=-heading * self.rng.uniform(0.3, 1.5), speed=speed),
            ]
        strafe, move = self.steps(LEFT, RIGHT), FORWARD if self.rng.random() < 0.4 else 0
        return [Activity(steps=self.steps(4, 9), turn=heading / 3, speed=speed, strafe=strafe, move=move)]


class LookAround(Demonstrator):
    """Stands in a room: turns far, pauses, steps back or aside, and seldom walks."""

    def plan(self, pose, frame):
        """A look to both sides, a step back or aside, or a short walk."""
        kind, speed = self.rng.random(), self.rng.uniform(3.0, 11.0)
        far = self.sign() * self.rng.uniform(30, 150)
        if kind < 0.45:
            return [
                Activity(steps=2, turn=far, speed=speed, attack=0.0),
                Activity(steps=self.steps(1, 5), attack=0.0),
                Activity(steps=2, turn=-far * self.rng.uniform(0.2, 0.8), speed=speed, attack=0.0),
            ]
        if kind < 0.7:
            return [
                Activity(steps=self.steps(3, 7), turn=far / 8, move=BACK),
                Activity(steps=self.steps(2, 6)),
            ]
        if kind < 0.87:
            return [Activity(steps=self.steps(3, 7), turn=far / 8, strafe=self.steps(LEFT, RIGHT))]
        return [Activity(steps=self.steps(4, 10), turn=far / 8, move=FORWARD)]


class Gather(Explore):
    """Walks up to bright things on the ground (medikits are white); explores where it sees none."""

    def plan(self, pose, frame):
        """Turn towards the nearest bright thing and walk to it."""
        turn = None if frame is None else bright_bearing(frame)
        if turn is None or self.rng.random() < 0.15:
            return super().plan(pose, frame)
        speed = self.rng.uniform(4.0, 9.0)
        return [Activity(steps=self.steps(3, 6), turn=turn, speed=speed, move=FORWARD, attack=0.0)]


def bearing(pose, place):
    """Degrees to turn (+ right, -180..180) at pose (x, y, angle) to face the point ``place``."""
    angle = np.degrees(np.arctan2(place[1] - pose[1], place[0] - pose[0]))
    return float((pose[2] - angle + 180.0) % 360.0 - 180.0)


def bright_bearing(frame, threshold=110, field_of_view=90.0):
    """Degrees (+ right) to the nearest bright thing below the horizon, or None.

    Args:
      frame: uint8 ``[H, W, 3]``.
      threshold: least red, green and blue of what counts as bright.
      field_of_view: horizontal, degrees.
    """
    height, width, _ = frame.shape
    top = height // 2
    bright = (frame[top:] > threshold).all(-1)
    rows = np.flatnonzero(bright.any(1))
    if rows.size == 0:
        return None
    column = np.flatnonzero(bright[rows[-1]]).mean() + 0.5  # lowest on the screen is nearest
    tangent = (2 * column / width - 1) * np.tan(np.radians(field_of_view / 2))
    return float(np.degrees(np.arctan(tangent)))


class StrafeDuel(Demonstrator):
    """Side-steps left and right in front of an enemy, aiming and shooting in bursts."""

    wobble = 0.25

    def plan(self, pose, frame):
        """One side-step with aim, then the other way, closing in or falling back."""
        strafe, attack = self.steps(LEFT, RIGHT), self.rng.uniform(0.1, 0.7)
        kind, speed = self.rng.random(), self.rng.uniform(3.0, 9.0)
        aim = self.sign() * self.rng.uniform(0, 30)
        if kind < 0.1:  # looks for the next one
            return [Activity(steps=2, turn=self.sign() * self.rng.uniform(60, 180), speed=speed + 2)]
        move = (0, FORWARD, BACK)[self.rng.choice(3, p=(0.55, 0.3, 0.15))]
        turn = {"speed": speed, "move": move, "attack": attack, "use": 0.0}
        return [
            Activity(steps=self.steps(3, 8), turn=aim, strafe=strafe, **turn),
            Activity(steps=self.steps(2, 8), turn=-aim, strafe=LEFT + RIGHT - strafe, **turn),
        ]


BEHAVIOURS = {
    "explore": Explore,
    "look_around": LookAround,
    "gather": Gather,
    "strafe_duel": StrafeDuel,
}


def make_demonstrator(task: str, spec: ActionSpec, seed: int) -> Demonstrator:
    """The scripted demonstrator of a task; ValueError names the tasks there are."""
    if task not in TASKS:
        raise ValueError(f"no demonstrator for task {task!r}; there are {', '.join(TASKS)}")
    return BEHAVIOURS[TASKS[task].behaviour](spec, seed)


def record(env, task, frames_per_episode, episodes, seed, on_progress=None):
    """Let the demonstrator of ``task`` act in ``env`` and yield what happened.

    Args:
      env: a ``HostEnv`` whose info has ``"pose"``; its N environments record side by side. An episode in
        which it reports ``"broken"`` is dropped, and another one recorded for it.
      task: whose demonstrator.
      frames_per_episode: T; an episode that ends early is yielded shorter.
      episodes: how many to yield.
      seed: the same seed gives the same recordings, for a given N.
      on_progress: called with the number of frames recorded so far, now and then.

    Yields:
      (frames uint8 ``[T, H, W, 3]``, actions int32 ``[T, A]``), ``actions[t]`` being done on
      seeing ``frames[t]``.
    """
    if frames_per_episode < 1 or episodes < 1:
        raise ValueError(
            f"frames_per_episode and episodes must be positive, got {frames_per_episode}, {episodes}"
        )
    n, total = env.num_envs, 0
    actors = [make_demonstrator(task, env.spec, 0) for _ in range(n)]
    frames = np.empty((frames_per_episode, n, *env.frame_shape), np.uint8)
    actions = np.empty((frames_per_episode, n, len(env.spec.factors)), np.int32)
    made = 0
    for round_ in itertools.count():
        seeds = np.random.SeedSequence([seed, round_]).generate_state(2 * n)
        step, lengths = env.reset(seeds[:n]), np.full(n, frames_per_episode)
        broken = np.zeros(n, bool) | step.info.get("broken", False)
        for actor, s in zip(actors, seeds[n:], strict=True):
            actor.reset(int(s))
        for t in range(frames_per_episode):
            frames[t] = step.frames
            for i, actor in enumerate(actors):
                actions[t, i] = actor.act(step.info["pose"][i], step.frames[i])
            step = env.step(actions[t])
            # What follows an end is another episode; it is not kept.
            lengths = np.where(step.done & (lengths > t), t + 1, lengths)
            broken |= step.info.get("broken", False)
        for i in np.flatnonzero(~broken)[: episodes - made]:
            made += 1
            total += int(lengths[i])
            if on_progress is not None:
                on_progress(total)
            yield frames[: lengths[i], i].copy(), actions[: lengths[i], i].copy()
        if made == episodes:
            return
