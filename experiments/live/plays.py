"""What a person does on the page, kept as demonstrations: ``experiments.play --plays=DIR``, ``demonstrations.play``."""

import datetime
import pathlib

import numpy as np

from experiments.stages import build, trajectory_file
from experiments.stages.trajectory_file import Trajectories

PIECE = 240
"""Steps of a file at most: so much is lost where a server dies, and so long a page waits while it is written."""


class Plays:
    """Writes one person's real frames and actions, a ``trajectory_file`` for each piece of an episode.

    A piece in which nothing is done is not kept: a page that nobody looks at plays on.

    Args:
      played: ``Played``.
      folder: to write to.
      name: of this person's files, which no others have.
    """

    def __init__(self, played, folder, name):
        self._played, self._folder, self._name = played, pathlib.Path(folder), name
        self._episode, self._start = 0, 0
        self._frames, self._actions = [], []

    def add(self, frame, action, done):
        """``action`` (int32 ``[A]``), done on seeing ``frame`` (uint8 ``[H, W, 3]``), ended an episode if ``done``."""
        self._frames.append(frame)
        self._actions.append(np.array(action, np.int32))
        if done:
            self.end()
        elif len(self._frames) == PIECE:
            self._write()

    def end(self):
        """An episode is over, or left: what there is of it is written."""
        self._write()
        self._episode, self._start = self._episode + 1, 0

    def _write(self):
        frames, actions = self._frames, self._actions
        self._frames, self._actions = [], []
        start, self._start = self._start, self._start + len(frames)
        if not frames or (np.stack(actions) == self._played.spec.null).all():
            return
        recording = f"{self._name}_{self._episode}"
        about = {
            "by": "a person", "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "in": self._played.title, "recording": recording, "start": start,
        }  # fmt: skip
        environment = {**build.environment_of(self._played.config), "env.task": self._played.task}
        piece = Trajectories(np.stack(frames)[None], np.stack(actions)[None], self._played.spec, environment, [about])
        trajectory_file.write(self._folder / f"{recording}_{start:06d}.npz", piece)
