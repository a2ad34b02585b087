"""The pages of ``python -m experiments.explore``, from its options."""

import asyncio
import functools
import threading

import jax

from experiments.configs import quickstart
from experiments.live import messages, played, server
from experiments.live.gallery import BROUGHT, Gallery
from experiments.live.pages_of_play import PAGES as PLAY_PAGES
from experiments.live.play_socket import Table
from experiments.live.restore import place_of
from experiments.live.stage import Stage
from experiments.run.directory import Run
from experiments.run.finished_run import read_config
from experiments.run.memory import keep_freed_memory
from experiments.stages import build
from prowl_jax.train.compilation_cache import enable_compilation_cache

PAGES = {
    **{path: name for path, name in PLAY_PAGES.items() if path != "/"},
    "/": "explore.html",
    "/explore.js": "explore.js",
    "/play": "play.html",
}
MOST_CARDS = 48


def serve_explore(options):
    """Serve until interrupted; returns the exit code. UsageError: there is no such run."""
    keep_freed_memory()
    enable_compilation_cache()
    config = read_config(options.workdir, quickstart.get_config(), unfinished=True)
    app = application(Gallery(Run(options.workdir, config, owned=False)))
    return server.serve(app, options.host, options.port, opens=options.browser, says=_says)


def application(gallery):
    """The aiohttp application of a ``Gallery``."""
    tables = Tables(gallery)
    answers = {
        "/api/run": lambda query: about(gallery),
        "/api/cards": functools.partial(cards, gallery),
        "/api/clip": functools.partial(clip, gallery),
        "/api/curves": lambda query: gallery.curves(),
        "/api/events": lambda query: gallery.events(_arm(gallery, query)),
    }
    return server.application(PAGES, tables.sit, tables.status, answers)


def about(gallery):
    """What there is to see."""
    arms = []
    for arm in gallery.arms():
        shelf = gallery.shelf(arm)
        if shelf is not None:
            found = [*zip(shelf.names, shelf.columns.get("found in cycle", ()), strict=False)]
            cycles = sorted({int(cycle) for name, cycle in found if name not in gallery.finders})
            cycles += [BROUGHT] if any(name in gallery.finders for name in shelf.names) else []
            arms.append(
                {"name": arm, "cycle": shelf.cycle, "columns": list(shelf.columns), "modes": sorted(set(shelf.modes)),
                 "cycles": cycles, "clips": len(shelf.names)}
            )  # fmt: skip
    playable = build.make_environment(gallery.run.config).on_device()
    return {"title": gallery.run.workdir.name, "arms": arms, "playable": playable}


def cards(gallery, query):
    """A page of cards."""
    cycle = query.get("cycle", "")
    count, rows = gallery.cards(
        _arm(gallery, query), query.get("sort", "score")[:100], query.get("order") == "rising", query.get("mode", ""),
        (cycle if cycle == BROUGHT else _whole(cycle)) if cycle else None, query.get("event", ""),
        _whole(query.get("offset", "0")), min(MOST_CARDS, _whole(query.get("limit", "12"))),
    )  # fmt: skip
    return {"count": count, "cards": rows}


def clip(gallery, query):
    """One clip's pictures and flows."""
    shown = gallery.clip(_arm(gallery, query), query.get("name", ""))
    return shown and messages.pack(shown[0], *shown[1])


def _arm(gallery, query):
    arm = query.get("arm", "")
    if arm not in gallery.arms():
        raise ValueError("there is no such arm, or it has saved nothing yet")
    return arm


def _whole(text):
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError("a whole number is wanted")
    return int(text)


class Tables:
    """Where those play who come from a card: a ``Table`` for each arm, made when the first one comes."""

    def __init__(self, gallery):
        self._gallery, self._tables, self._lock = gallery, {}, threading.Lock()

    def status(self):
        """For ``/status``."""
        return {"sessions": sum(len(table.sessions) for table in self._tables.values())}

    async def sit(self, ws, app, query):
        """Play in the run, from a card where the query names one."""
        loop = asyncio.get_running_loop()
        table = await loop.run_in_executor(app[server.THREADS], self._table, query)
        await table.sit(ws, app, query)

    def _table(self, query):
        arm = _arm(self._gallery, query) if "arm" in query else "phase1"
        with self._lock:
            if arm not in self._tables:
                ready = played.of_run(self._gallery.run.workdir, (arm,))
                self._tables[arm] = Table(Stage(ready).start(), places=self._place)
            return self._tables[arm]

    def _place(self, query):
        shelf = self._gallery.shelf(query["arm"]) if "arm" in query else None
        if shelf is None or query.get("name") not in shelf.names:
            return None
        i = shelf.names.index(query["name"])
        one = jax.tree.map(lambda x: x[i], shelf.clips)
        return place_of(self._gallery.run, one, int(shelf.columns["found in cycle"][i]))


def _says(url):
    print(f"explore at {url}  (Ctrl-C ends it)", flush=True)
