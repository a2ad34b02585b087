"""What the scripted demonstrators of the tasks in ``vizdoom.py`` do: a class each, named in ``BEHAVIOURS``."""

import numpy as np

from prowl_jax.envs.activities import BACK, FORWARD, LEFT, RIGHT, Activity, Demonstrator
from prowl_jax.envs.held_keys import KINDS


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


def bright_bearing(frame, threshold=110, field_of_view=90.0):
    """Degrees (+ right) to the nearest bright thing below the horizon, or None.

    Args:
      frame: uint8 ``[H, W, 3]``, cut from the middle of one of 4:3 where it is narrower.
      threshold: least red, green and blue of what counts as bright.
      field_of_view: of one of 4:3, horizontal, degrees.
    """
    height, width, _ = frame.shape
    top = height // 2
    bright = (frame[top:] > threshold).all(-1)
    rows = np.flatnonzero(bright.any(1))
    if rows.size == 0:
        return None
    column = np.flatnonzero(bright[rows[-1]]).mean() + 0.5  # lowest on the screen is nearest
    shown = min(1.0, 3 * width / (4 * height))  # share of the columns of 4:3
    tangent = (2 * column / width - 1) * np.tan(np.radians(field_of_view / 2)) * shown
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


class SideStep(Demonstrator):
    """Steps to one side, then to the other or rests, and looks straight ahead."""

    def plan(self, pose, frame):
        """A stretch aside, or a short rest."""
        strafe = int(self.rng.choice(3, p=(0.2, 0.4, 0.4)))
        return [Activity(steps=self.steps(2, 12), strafe=strafe, attack=0.0, use=0.0)]

    def escape(self, pose):
        """Away from the wall."""
        strafe = LEFT + RIGHT - max(self.now.strafe, LEFT)
        return [Activity(steps=self.steps(3, 10), strafe=strafe, attack=0.0, use=0.0)]

    def _turn(self, fastest):
        """Never."""
        return self.camera.bins // 2


class HeldKeys(Demonstrator):
    """Presses chords of keys, whatever there is to see: see ``held_keys``. A subclass names its kind."""

    kind: str

    def __init__(self, spec, seed, gaps=None):
        self.chords = KINDS[self.kind](spec, gaps)
        super().__init__(spec, seed)

    def reset(self, seed):
        """Forget everything and start over."""
        super().reset(seed)
        self.chord, self.keys_left, self.stroke_left, self.held = 0, 0, 0, self.spec.null

    def act(self, pose, frame=None):
        """The action: int32 ``[A]``."""
        chords, moves = self.chords, self.held[self.column["move"]] + self.held[self.column["strafe"]]
        self.trail.append((pose[0], pose[1], bool(moves)))
        over = self.keys_left <= 0 or (bool(chords.minds) and self._stuck(pose))
        if over:
            self.trail.clear()
            self.chord = int(self.rng.choice(len(chords.share), p=chords.share / chords.share.sum()))
            self.keys_left = self.steps(*chords.hold)
        turns = over or self.stroke_left <= 0
        if turns:
            self.stroke_left = self.steps(1, chords.stroke[self.chord])
        for i, (factor, chances) in enumerate(zip(self.spec.factors, chords.values[self.chord], strict=True)):
            if turns if factor.camera else over:
                self.held[i] = self.rng.choice(len(chances), p=chances / chances.sum())
        self.keys_left -= 1
        self.stroke_left -= 1
        return self.held.copy()


class Control(HeldKeys):
    """Does with a calm camera what the gaps leave out."""

    kind = "control"


class Wide(HeldKeys):
    """Holds keys drawn uniformly from all actions, with calm or fast turns."""

    kind = "wide"


BEHAVIOURS = {
    "explore": Explore,
    "look_around": LookAround,
    "gather": Gather,
    "side_step": SideStep,
    "strafe_duel": StrafeDuel,
    "control": Control,
    "wide": Wide,
}
