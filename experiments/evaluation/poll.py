"""A poll on a contest: which pairs a voter has still to see, on which sides, what is written down, what it says."""

import dataclasses
import datetime
import zlib

import numpy as np

from experiments.evaluation import votes
from experiments.evaluation.judges import preferred


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two dreams of a clip: numbers of the clip, and of who dreamt the left and the right."""

    clip: int
    left: int
    right: int


class Poll:
    """Votes on the dreams of a ``Contest``.

    Args:
      contest: ``Contest``. path: file of votes, which may hold others' and earlier ones. real: whether people see the
        real frames beside the dreams.

    Attributes:
      dreams: uint8 ``[contestants, n, frames, H, W, 3]``, once ``dream`` is done; None before.

    Raises:
      UsageError: the file holds something else than votes.
    """

    def __init__(self, contest, path, real=False):
        self.contest, self.path, self.real, self.dreams = contest, path, real, None
        votes.read(path)

    def dream(self, on_batch=lambda done: None):
        """Dream all that is compared; ``on_batch(done)`` after each of ``contest.batches``."""
        done = []

        def tell():
            done.append(None)
            on_batch(len(done))

        self.dreams = self.contest.dreams(tell)

    def vote(self, pair, vote, voter, judge=None):
        """A line of the file of votes (``evaluation.votes``), not yet in it."""
        contest = self.contest
        sides = [contest.contestants[i] for i in (pair.left, pair.right)]
        return {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "seed": contest.seed,
            "clip": contest.clip_name(pair.clip), "left": sides[0].name, "right": sides[1].name,
            "steps": [one.step for one in sides], "vote": vote, "voter": voter, "judge": judge,
            "real": self.real and judge is None, "frames": contest.frames,
        }  # fmt: skip

    def cast(self, pair, vote, voter):
        """Write a person's vote down; it is on the disk when this returns."""
        votes.append(self.path, [self.vote(pair, vote, voter)])

    def left_to(self, voter, judge=None):
        """``Pair``s that this voter has not voted on, in an order and on sides that belong to seed and voter."""
        rng = np.random.default_rng([self.contest.seed, zlib.crc32(f"{judge} {voter}".encode())])
        rows = rng.permutation(self.contest.pairs).tolist()
        turned = rng.integers(0, 2, len(rows))
        pairs = [Pair(clip, *((b, a) if turn else (a, b))) for (clip, a, b), turn in zip(rows, turned, strict=True)]
        done = {votes.ballot(vote) for vote in votes.read(self.path)}
        return [pair for pair in pairs if votes.ballot(self.vote(pair, "none", voter, judge)) not in done]

    def judged(self, judge):
        """Let a metric vote on every pair that it has not voted on, and write it down."""
        contest, pairs = self.contest, self.left_to("", judge)
        last = contest.clips.frames[:, contest.seen - 1 : contest.seen]
        rows = [(pair.clip, pair.left, pair.right) for pair in pairs]
        said = preferred(judge, self.dreams, rows, contest.real, last, contest.flow) if pairs else []
        votes.append(self.path, [self.vote(pair, side, "", judge) for pair, side in zip(pairs, said, strict=True)])

    def result(self):
        """``votes.summary`` of all that is in the file."""
        return votes.summary(votes.read(self.path), [one.name for one in self.contest.contestants])
