"""One person who plays: their real world, the dream beside it under the same keys, and what is measured of both."""

import collections
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from experiments.live import messages
from experiments.live.others import Hands, third_of, thirds
from experiments.live.played import SECOND
from experiments.live.programs import Sampling, choices, own_sampling
from experiments.live.reading import Strip

RECORDED = 600
"""Frames of a recording at most."""
LEAST_REGRET = 0.1
"""Deviations of the latents: below it no dream has left reality, however still that stands."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where to begin: a ``state`` of the environment, and the ``actions`` int32 ``[n, A]`` to do there first."""

    state: object
    actions: np.ndarray


@dataclasses.dataclass(frozen=True)
class Picture:
    """What one tick shows: uint8 frames ``[G, H, W, 3]`` of each panel, where there is one, and a header."""

    header: dict
    real: np.ndarray
    dream: np.ndarray | None
    third: np.ndarray | None
    expected: np.ndarray | None = None


class Session:
    """Not safe for several threads at once, but for ``inbox``, to which any may append what ``messages.read`` gave.

    Args:
      played: ``Played``. seed: of the world and the dream. place: ``Place`` to begin in.
      plays: ``plays.Plays``, which is told what is done, or None.

    Attributes:
      inbox: what the page said and no tick has heeded yet.
      paused, hunting: as the page wants it. asked: sampling that is not compiled yet, or None.
      strip: what an inverse dynamics model reads off the dream. map: what is drawn over the dream, of ``maps``.
    """

    def __init__(self, played, seed=0, place=None, plays=None):
        self.played, self.inbox = played, collections.deque(maxlen=256)
        self._plays = plays
        self.paused = self.hunting = self.holding = False
        self.temperature, self.third, self.map = 1.0, "none", messages.MAPS[0]
        self.sampling, self.asked = own_sampling(played.programs.model), None
        self.recording, self.recorded = False, []
        self._hands = Hands(played.spec)
        self._key, self._ticks = jax.random.key(seed), 0
        self._sleep = self._third_sleep = self._before = None
        self._figures, self.strip = _LastSecond(), Strip()
        self._reality = None
        self._begin(seed, place)

    def _begin(self, seed, place=None):
        """A world from ``seed``, or in a ``Place``, and as much of it as a dream needs to start from."""
        self._leave()
        programs = self.played.programs
        self._reality = self.played.world.begin(seed, place and place.state)
        kept = programs.seen + programs.group * (SECOND + programs.group)
        self.frames, self.actions = collections.deque(maxlen=kept), collections.deque(maxlen=kept)
        before = [self.played.spec.null] * (programs.seen + 1) if place is None else place.actions
        for action in before:
            self._act(action)
        self._sleep = self._third_sleep = None

    def close(self):
        """Let the environment go. Safe to call twice."""
        self._leave()
        self._reality = None
        self.frames = self.actions = self.recorded = ()
        self._sleep = self._third_sleep = None

    def _leave(self):
        """The world that there is, if there is one, is played in no more."""
        if self._reality is not None:
            self._reality.close()
            if self._plays:
                self._plays.end()

    def _act(self, action):
        """One real step; ``actions[i]`` led to ``frames[i]``."""
        frame, done, events = self._reality.step(action)
        if self._plays and self.frames:
            self._plays.add(self.frames[-1], action, done)
        if done:  # what was before belongs to another episode
            self.frames.clear()
            self.actions.clear()
            self._sleep = self._third_sleep = None
        self.frames.append(frame)
        self.actions.append(np.array(action, np.int32))
        return frame, events

    def tick(self):
        """Heed the inbox, do what is held for one chunk, dream it: a ``Picture``."""
        self._heed()
        programs, frames, events = self.played.programs, [], []
        stamp = self._hands.stamp
        actions = np.stack([self._hands.next() for _ in range(programs.group)])
        restarted = False
        if not self.holding:
            for action in actions:
                had = len(self.frames)
                frame, happened = self._act(action)
                restarted |= len(self.frames) <= had and len(self.frames) == 1
                frames.append(frame)
                events += happened
        real = np.stack(frames) if frames else np.repeat(self.frames[-1][None], programs.group, 0)
        if restarted or self._sleep is None:  # reality has gone on: the dream begins with it, and is shown from then on
            dream = third = expected = None
            self._wake()
        else:
            dream, self._sleep = self._dream(self.played.dreamer, self._sleep, actions)
            third = self._dream_third(actions)
            expected = self._expect(dream, actions)
        self._ticks += 1
        if self.recording and dream is not None:
            self._record(real, dream, third)
        header = {
            "type": "picture", "tick": self._ticks, "stamp": stamp, "held": actions[0].tolist(), "events": events,
            "panels": [n for n, x in self._panels(real, dream, third, expected)],
            "frames": programs.group, "recorded": len(self.recorded), "recording": self.recording,
            "restarted": restarted,
        }  # fmt: skip
        return Picture(header, real, dream, third, expected)

    @staticmethod
    def _panels(*panels):
        names = ("real", "dream", "third", "expected")
        return [(name, x) for name, x in zip(names, panels, strict=True) if x is not None]

    def _expect(self, dream, actions):
        """The error that a head expects of each dreamt frame, where the page wants it; uint8 ``[G, H, W, 3]``."""
        head, before, age = self.played.error_head, *self._before
        self._before = dream[-1], age + len(dream)
        if head is None or self.map != "expected":
            return None
        program, params = self.played.programs.expected(head[0]), self.played.params[self.played.dreamer]
        maps = []
        for frame, action in zip(dream, actions, strict=True):
            age += 1
            maps.append(np.asarray(program(params, head[1], before, frame, action, age)))
            before = frame
        return np.stack(maps)

    def pair(self):
        """What ``measure`` takes: the last two real and dreamt frames, and the dream's first; or None."""
        return self._figures.pair if not self.holding else None

    def measure(self, pair):
        """Figures of a ``pair``; may run beside the next tick."""
        programs, params = self.played.programs, self.played.params[self.played.dreamer]
        values = jax.device_get(programs.compare()(params, *pair))
        self._figures.add({name: float(value) for name, value in values.items()})

    def figures(self):
        """Of the last second, by name; empty where nothing was measured since the dream began."""
        return self._figures.means()

    def clip(self):
        """The last real frames and actions that lie in one episode: uint8 ``[n, H, W, 3]``, int32 ``[n, A]``.

        ``actions[t]`` leads from frame t to frame t + 1; the last is what does nothing.
        """
        frames, led = list(self.frames), list(self.actions)
        return np.stack(frames), np.stack([*led[1:], self.played.spec.null]).astype(np.int32)

    def _dream(self, arm, sleep, actions):
        programs = self.played.programs
        key = jax.random.fold_in(self._key, self._ticks)
        told = jnp.asarray(actions[None], jnp.int32)
        step = programs.dream(self.sampling)
        frames, sleep = step(self.played.params[arm], sleep, key, jnp.float32(self.temperature), told)
        frames = np.asarray(frames)
        if arm == self.played.dreamer and sleep is not None:
            self._figures.show(self.frames, frames)
            self.strip.show(self._ticks + 1, frames[-1])
        return frames, sleep

    def _dream_third(self, actions):
        """The third panel: another arm under the same actions, or the same under others."""
        if self._third_sleep is None:
            return None
        arm, change = third_of(self.played, self.third)
        programs, key = self.played.programs, jax.random.fold_in(self._key, self._ticks)
        told = jnp.asarray(change(actions)[None], jnp.int32)
        step = programs.dream(self.sampling)
        sleep = self._third_sleep
        frames, self._third_sleep = step(self.played.params[arm], sleep, key, jnp.float32(self.temperature), told)
        return np.asarray(frames)

    def _wake(self):
        """The dreams begin anew from the last real frames."""
        programs = self.played.programs
        if len(self.frames) < programs.seen:
            return
        frames = np.stack(list(self.frames)[-programs.seen :])[None]
        actions = self.clip()[1][-programs.seen :][None]
        wake = programs.wake(self.sampling)
        self._sleep = wake(self.played.params[self.played.dreamer], frames, actions)
        self._before = self.frames[-1], 0
        self._third_sleep = None
        if self.third != "none":
            self._third_sleep = wake(self.played.params[third_of(self.played, self.third)[0]], frames, actions)
        self._figures.begin(self.frames[-1])
        self.strip.begin()

    def _heed(self):
        while self.inbox:
            said = self.inbox.popleft()
            if isinstance(said, messages.Act):
                self._hands.heed(said)
            elif isinstance(said, messages.Switch):
                self._switch(said.name, said.on)
            elif isinstance(said, messages.Change):
                self._change(said.name, said.value)
            elif said.name == "resync":
                self._wake()
            elif said.name == "restart":
                self._begin(self._ticks + 1 if said.value is None else said.value)

    def _switch(self, name, on):
        if name == "hold":
            self.holding = on
            self._figures.begin(self.frames[-1])
        elif name == "hunt":
            self.hunting = on
        elif name == "record":
            self.recording = on
            if on:
                self.recorded = []

    def _change(self, name, value):
        if name == "temperature":
            self.temperature = value
        elif name == "map":
            self.map = value
        elif name == "third":
            if value in thirds(self.played):
                self.third = value
                self._wake()
        elif value in choices(self.played.programs.model)[name]:
            self.asked = dataclasses.replace(self.asked or self.sampling, **{name: value})

    def take(self, sampling: Sampling):
        """Dream with ``sampling`` from now on, which is compiled."""
        self.sampling, self.asked = sampling, None if self.asked == sampling else self.asked
        self._wake()

    def _record(self, real, dream, third):
        panels = [x for x in (real, dream, third) if x is not None]
        if self.recorded and len(self.recorded[-1]) != len(panels):
            self.recorded = []
        for i in range(len(real)):
            self.recorded.append([x[i] for x in panels])
        if len(self.recorded) >= RECORDED:
            self.recording = False


class _LastSecond:
    """Figures of the last second of a dream."""

    def __init__(self):
        self.begin(None)

    def begin(self, first):
        """A dream begins with the real frame ``first``: what was measured of another is forgotten."""
        self.pair, self._first, self._last, self._rows = None, first, None, collections.deque(maxlen=SECOND)

    def show(self, real, dream):
        """The newest real frames (any number) and dreamt frames ``[G, H, W, 3]``."""
        dreamt = [*([] if self._last is None else [self._last]), *dream]
        self._last = dream[-1]
        enough = len(dreamt) > 1 and len(real) > 1
        self.pair = (np.stack([real[-2], real[-1]]), np.stack(dreamt[-2:]), self._first) if enough else None

    def add(self, row):
        """What was measured of one pair."""
        self._rows.append(row)

    def means(self):
        """name -> figure: ``regret`` as in ``pat.score``, ``epe`` in pixels, ``sharpness`` over that of reality, and
        ``left``: whether it is no nearer to reality than a picture that tells nothing. The one that it began with is
        soon as far off as any other, sqrt(2) deviations of what there is to see; grey is one deviation off.
        """
        if not self._rows:
            return {}
        rows = list(self._rows)
        mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        regret, still = mean["regret"] ** 0.5, mean["still"] ** 0.5
        return {
            "regret": regret,
            "left": float(len(rows) >= SECOND // 2 and regret >= max(still / 2**0.5, LEAST_REGRET)),
            "epe": mean["epe"],
            "sharpness": mean["energy"] / max(mean["real_energy"], 1e-9),
            "frames": len(rows),
        }
