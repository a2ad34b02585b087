"""The socket of a page that votes: pairs come one by one, and a page never learns who dreamt which side."""

import asyncio
import contextlib
import dataclasses

import numpy as np

from experiments.evaluation import votes
from experiments.live import messages
from experiments.live.server import THREADS, heard, send_json
from experiments.live.stage import Preparation
from experiments.run.config_file import UsageError

MOST_LETTERS = 40
"""Of a voter's name."""


@dataclasses.dataclass(frozen=True)
class Begin:
    """Who votes."""

    voter: str


@dataclasses.dataclass(frozen=True)
class Choice:
    """A vote for a side of the pair of that number."""

    pair: int
    vote: str


@dataclasses.dataclass(frozen=True)
class Ask:
    """The result so far is wanted."""


def read(text):
    """A message of a page that votes; BadMessage of one line says what is wrong with it."""
    kind, said = messages.opened(text)
    if kind == "begin":
        voter = said.get("voter")
        if not isinstance(voter, str) or len(voter) > MOST_LETTERS or not voter.isprintable():
            raise messages.BadMessage(f"voter is a name of at most {MOST_LETTERS} letters")
        return Begin(voter.strip())
    if kind == "vote":
        if said.get("vote") not in votes.SIDES:
            raise messages.BadMessage(f"a vote is one of {', '.join(votes.SIDES)}")
        return Choice(messages.whole(said.get("pair")), said["vote"])
    if kind == "result":
        return Ask()
    raise messages.BadMessage(messages.NO_SUCH)


class Booth:
    """Where all vote: what they share. ``sit`` is a socket's whole life.

    Args:
      poll: ``Poll``; it dreams beside the server. told: ``f(line)`` for what is worth a line on the terminal.
    """

    def __init__(self, poll, told=print):
        spec, clips = poll.contest.spec, poll.contest.clips
        self._words = [[spec.describe(a) or "nothing" for a in actions] for actions in clips.actions]
        self.poll, self.preparation = poll, Preparation(self._dream, "dreaming", told)
        self.preparation.start()

    def status(self):
        """For ``/status``."""
        return {"stage": self.preparation.says}

    def _dream(self):
        contest = self.poll.contest

        def on_batch(done):
            self.preparation.says = f"dreaming, {done} of {contest.batches} batches"

        self.poll.dream(on_batch)
        return f"{len(contest.pairs)} pairs"

    async def sit(self, ws, app, query):
        """Let one page vote until it leaves."""
        del query
        telling = asyncio.create_task(self._tell(ws))
        voter = _Voter(self, ws, app[THREADS])
        try:
            async for said in heard(ws, read):
                if self.poll.dreams is None:
                    await send_json(ws, type="bad", says="the dreams are not there yet")
                else:
                    await voter.answer(said)
        except ConnectionError:
            raise  # the page is gone
        except (OSError, UsageError) as error:  # a full disk, or somebody broke the file meanwhile
            await send_json(ws, type="failed", says=f"no more votes can be taken: {error}")
            raise
        finally:
            telling.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await telling

    async def _tell(self, ws):
        """How far the dreams are, until they are there."""
        done, contest = asyncio.create_task(self.preparation.done()), self.poll.contest
        try:
            while not done.done():
                seconds = round(self.preparation.seconds(), 1)
                await send_json(ws, type="wait", says=self.preparation.says, seconds=seconds)
                await asyncio.wait({done}, timeout=0.5)
        finally:
            done.cancel()
        if not done.result():
            await send_json(ws, type="failed", says=self.preparation.says)
            return
        await send_json(ws, type="hello", models=len(contest.contestants), real=self.poll.real, letters=MOST_LETTERS)

    def packed(self, pair, number, of):
        """What a page is sent of a ``Pair``: the frames seen before, left, right and, where it is shown, real."""
        poll, contest = self.poll, self.poll.contest
        before = contest.clips.frames[pair.clip, : contest.seen]
        shown = [before, poll.dreams[pair.left, pair.clip], poll.dreams[pair.right, pair.clip]]
        shown += [contest.real[pair.clip]] if poll.real else []
        header = {
            "type": "pair", "pair": number, "pairs": of, "seen": contest.seen, "frames": contest.frames,
            "height": before.shape[1], "width": before.shape[2],
            "actions": ["", *self._words[pair.clip][: contest.seen + contest.frames - 1]],  # that led to each frame
        }  # fmt: skip
        return messages.pack(header, *(np.ascontiguousarray(x).tobytes() for x in shown))


class _Voter:
    """One page, and the pairs that are left to who sits there."""

    def __init__(self, booth, ws, threads):
        self._booth, self._ws, self._threads = booth, ws, threads
        self._name, self._left = "", []

    async def answer(self, said):
        """Heed a message."""
        poll, total = self._booth.poll, len(self._booth.poll.contest.pairs)
        if isinstance(said, Ask):
            tables = votes.tables(await self._in_thread(poll.result))
            rows = [{"title": title, "head": head, "rows": rows} for title, head, rows in tables]
            await send_json(self._ws, type="result", tables=rows)
            return
        if isinstance(said, Begin):
            self._name, self._left = said.voter, await self._in_thread(poll.left_to, said.voter)
        elif not self._left or said.pair != total - len(self._left) + 1:
            await send_json(self._ws, type="bad", says="that pair is not the one that is shown")
            return
        else:
            await self._in_thread(poll.cast, self._left[0], said.vote, self._name)
            self._left = self._left[1:]
        if self._left:
            await self._ws.send_bytes(self._booth.packed(self._left[0], total - len(self._left) + 1, total))
        else:
            await send_json(self._ws, type="done", pairs=total)

    async def _in_thread(self, function, *arguments):
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
