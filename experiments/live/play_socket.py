"""What goes on between one page and the server while somebody plays."""

import asyncio
import contextlib
import functools
import itertools
import time

import numpy as np

from experiments.live import messages, recording
from experiments.live.hunt import Hunt, make_scorer
from experiments.live.others import described_factors, thirds
from experiments.live.played import SECOND
from experiments.live.plays import Plays
from experiments.live.programs import choices
from experiments.live.reading import make_reader
from experiments.live.server import THREADS, heard, send_json
from experiments.live.session import Session
from experiments.live.yardstick import Rivals

AHEAD, PATIENCE = 3, 2.0
"""Pictures on their way to a page at most, and seconds that the next one waits for it to say that it has shown them."""


class Table:
    """Where all play: what they share. ``sit`` is a socket's whole life.

    Args:
      stage: ``Stage``. finds: folder in which everybody's finds are kept, a file each, or None.
      plays: folder in which all that is done is kept (``plays.Plays``), or None.
      places: ``f(query) -> Place or None``, where a page asks to begin; None: all begin anywhere.
    """

    def __init__(self, stage, finds=None, places=None, plays=None):
        self.stage, self.finds, self.places, self.plays = stage, finds, places, plays
        self.sessions, self._compiling = set(), set()
        self._numbers = itertools.count(int(time.time()))

    def status(self):
        """For ``/status``."""
        return {"sessions": len(self.sessions), "stage": self.stage.says}

    async def sit(self, ws, app, query):
        """Play with one page until it leaves; ``query`` may name where to begin (``places``)."""
        loop, threads = asyncio.get_running_loop(), app[THREADS]
        said = asyncio.create_task(self._wait(ws))
        try:
            played = await self.stage.ready()
            if played is None:
                await send_json(ws, type="failed", says=self.stage.says)
            if played is None or ws.closed:
                return
            place = await loop.run_in_executor(threads, self.places, query) if self.places and query else None
            elsewhere = bool(self.places) and "name" in query and place is None
            kept = self.plays and Plays(played, self.plays, f"play_{next(self._numbers)}")
            session = await loop.run_in_executor(threads, Session, played, int(time.time()) % 2**31, place, kept)
        finally:
            said.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await said
        self.sessions.add(session)
        seat = Seat(ws, session, loop, threads, self)
        reading = asyncio.create_task(seat.read())
        try:
            await send_json(ws, **hello(played), elsewhere=elsewhere)
            await seat.play(reading)
        finally:
            reading.cancel()
            self.sessions.discard(session)
            await asyncio.shield(seat.leave())

    @functools.cached_property
    def scorer(self):
        """Scores seconds, for all."""
        return make_scorer(self.stage.played)

    @functools.cached_property
    def rivals(self):
        """Who else is on the leader board, for all."""
        return Rivals(self.stage.played, self.scorer)

    def hunted(self):
        """Whether anybody hunts."""
        return any(session.hunting for session in tuple(self.sessions))

    @functools.cached_property
    def reader(self):
        """Reads actions off the dream, for all; None where nothing can."""
        return make_reader(self.stage.played)

    def file_of_finds(self):
        """Where one person's finds go, or None."""
        return self.finds and self.finds / f"finds_{next(self._numbers)}.npz"

    async def _wait(self, ws):
        """Tell a page how far the start is, until it is there."""
        while not ws.closed:
            says = "going to that place" if self.stage.says == "ready" else self.stage.says
            await send_json(ws, type="wait", says=says, seconds=round(self.stage.seconds(), 1))
            await asyncio.sleep(0.5)

    async def compile(self, loop, threads, sampling):
        """Compile a dream's program beside what goes on, once."""
        if sampling in self._compiling:
            return
        self._compiling.add(sampling)
        try:
            await loop.run_in_executor(threads, self.stage.played.programs.compile_ahead, sampling)
        finally:
            self._compiling.discard(sampling)


def hello(played):
    """What a page must know of what it plays."""
    programs = played.programs
    height, width, _ = programs.frame_shape
    return {
        "type": "hello", "title": played.title, "factors": described_factors(played.spec), "height": height,
        "width": width, "second": SECOND, "choices": {k: list(v) for k, v in choices(programs.model).items()},
        "thirds": thirds(played), "dreamer": played.dreamer, "judge": played.judge is not None,
        "maps": messages.MAPS if played.error_head else messages.MAPS[:1],
    }  # fmt: skip


class Seat:
    """One page and its ``Session``."""

    def __init__(self, ws, session, loop, threads, table):
        self._ws, self.session, self._loop, self._threads, self._table = ws, session, loop, threads, table
        self._hunt, self._file = Hunt(session.played, table.scorer, table.rivals), table.file_of_finds()
        self._beside = {}  # name -> what is being computed beside the play
        self._frame_seconds, self._spent = [], []
        self._awake, self._seen, self._sees = asyncio.Event(), None, asyncio.Event()
        self._awake.set()

    async def read(self):
        """Take in what the page says, until it leaves."""
        async for said in heard(self._ws, lambda text: messages.read(text, self.session.played.spec)):
            if isinstance(said, messages.Switch) and said.name == "pause":
                self._awake.clear() if said.on else self._awake.set()
            elif isinstance(said, messages.Seen):
                self._seen = said.tick
                self._sees.set()
            elif isinstance(said, messages.Order) and said.name in ("clip", "finds"):
                self._start(said.name, self._send_clip(said.value) if said.name == "clip" else self._send_finds())
            else:
                self.session.inbox.append(said)

    async def play(self, reading):
        """Tick by tick, at ``SECOND`` frames a second at most, while the page is there."""
        session, due = self.session, time.monotonic()
        while not reading.done():
            await self._until_awake(reading)
            if reading.done():
                return
            began = time.monotonic()
            picture = await self._loop.run_in_executor(self._threads, session.tick)
            self._spent = [*self._spent[-29:], time.monotonic() - began]
            await self._show(picture)
            self._look_beside(picture)
            await self._until_seen(picture.header["tick"], reading)
            due = max(due + session.played.programs.group / SECOND, time.monotonic() - 0.5)
            now = time.monotonic()
            self._frame_seconds = [*self._frame_seconds[-29:], now]
            await asyncio.sleep(max(0.0, due - now))

    async def leave(self):
        """Let all go."""
        for task in self._beside.values():
            task.cancel()
        await self._loop.run_in_executor(self._threads, self.session.close)

    async def _until_awake(self, reading):
        waiting = asyncio.create_task(self._awake.wait())
        await asyncio.wait({waiting, reading}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def _until_seen(self, tick, reading):
        """Who shows pictures slower than they come plays slower, not later; who does not tell is not waited for."""
        while self._seen is not None and self._seen < tick - AHEAD and not reading.done():
            self._sees.clear()
            waiting = asyncio.create_task(self._sees.wait())
            done, _ = await asyncio.wait({waiting, reading}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if not done:
                self._seen = None  # it tells no longer

    async def _show(self, picture):
        session, times = self.session, self._frame_seconds
        span = times[-1] - times[0] if len(times) > 1 else 0.0
        figures = session.figures()
        header = {
            **picture.header,
            "fps": round((len(times) - 1) * session.played.programs.group / span, 1) if span else None,
            "ms": round(1000 * float(np.median(self._spent)), 1),
            "figures": {name: round(value, 4) for name, value in figures.items()},
            "read": session.strip.take(),
            "sampling": vars(session.sampling), "asked": session.asked is not None, "third": session.third,
            "holding": session.holding, "temperature": session.temperature,
        }  # fmt: skip
        shown = picture.real, picture.dream, picture.third, picture.expected
        panels = [x.tobytes() for x in shown if x is not None]
        await self._ws.send_bytes(messages.pack(header, *panels))

    def _look_beside(self, picture):
        """What need not be there with the picture is computed beside the next one, if it is not still at it."""
        session = self.session
        pair = session.pair()
        if pair is not None:
            self._start("measure", self._in_thread(session.measure, pair))
        if self._table.reader and session.strip.due():
            self._start("read", self._in_thread(session.strip.read, self._table.reader))
        if session.asked is not None:
            if session.played.programs.ready(session.asked):
                session.take(session.asked)
            else:
                self._start("compile", self._table.compile(self._loop, self._threads, session.asked))
        every = max(1, SECOND // session.played.programs.group)
        if session.hunting and picture.header["tick"] % every == 0:
            self._start("hunt", self._score())
            self._start("rivals", self._in_thread(self._table.rivals.meet, self._table.hunted))

    def _start(self, name, work):
        """Do ``work`` beside the play unless one of that name is still going on."""
        before = self._beside.get(name)
        if before is not None and not before.done():
            work.close()
            return
        self._beside[name] = asyncio.create_task(self._quietly(work))

    async def _quietly(self, work):
        with contextlib.suppress(ConnectionError):  # the page is gone
            await work

    async def _in_thread(self, function, *arguments):
        return await self._loop.run_in_executor(self._threads, function, *arguments)

    async def _score(self):
        found = await self._in_thread(self._hunt.look, *self.session.clip())
        if found is not None:
            await send_json(self._ws, type="hunt", **found)
            if self._file is not None and found["kept"]:
                await self._in_thread(self._hunt.write, self._file)

    async def _send_finds(self):
        content = await self._in_thread(self._hunt.as_bytes)
        if content is None:
            await send_json(self._ws, type="bad", says="nothing has been found yet")
            return
        about = {"type": "file", "name": "finds.npz", "kind": "application/zip"}
        await self._ws.send_bytes(messages.pack(about, content))

    async def _send_clip(self, kind):
        frames = list(self.session.recorded)
        if not frames:
            await send_json(self._ws, type="bad", says="nothing is recorded")
            return
        try:
            content = await self._in_thread(recording.ENCODERS[kind], frames)
        except (ImportError, OSError, ValueError) as error:
            await send_json(self._ws, type="bad", says=f"no {kind} can be made here: {error}")
            return
        name, mime = f"real_and_dream.{kind}", recording.MIMES[kind]
        await self._ws.send_bytes(messages.pack({"type": "file", "name": name, "kind": mime}, content))
