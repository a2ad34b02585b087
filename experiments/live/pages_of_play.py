"""The pages of ``python -m experiments.play``, from its options."""

import functools
import time

from experiments.live import messages, played, recording, server, speed, yardstick
from experiments.live.hunt import make_scorer
from experiments.live.play_socket import Table
from experiments.live.session import Session
from experiments.live.stage import Stage
from experiments.run.files import write_bytes, write_json
from experiments.run.memory import keep_freed_memory
from prowl_jax.train.compilation_cache import enable_compilation_cache

SHARED = {f"/{name}": name for name in ("pictures.js", "socket.js", "style.css", "icon.svg")}
"""What every page loads."""
PAGES = {**SHARED, "/": "play.html", "/play.js": "play.js", "/keys.js": "keys.js"}


def serve_play(options):
    """Serve until interrupted; returns the exit code. What is wrong with the options is told before: UsageError."""
    began = time.monotonic()
    keep_freed_memory()
    enable_compilation_cache()
    if options.workdir is not None:
        ready = played.of_run(options.workdir, options.arm, options.task)
    else:
        ready = played.of_weights(options.weights, options.task)
    if options.head is not None:
        ready = played.with_error_head(ready, options.head)
    if options.yardstick is not None:
        known = yardstick.measured(ready, make_scorer(ready))
        write_json(options.yardstick, known)
        print(f"written: {options.yardstick}")
        return 0
    if options.reel is not None:
        write_bytes(options.reel, reel(ready))
        print(f"written: {options.reel}")
        return 0
    for folder in filter(None, (options.finds, options.plays)):
        folder.mkdir(parents=True, exist_ok=True)
    table = Table(Stage(ready).start(), options.finds, plays=options.plays)
    app = server.application(PAGES, table.sit, table.status)
    if options.speed:
        speed.measure(app, began, functools.partial(print, flush=True))
        return 0
    return server.serve(app, options.host, options.port, opens=options.browser, says=_says)


REEL = (("move", 1, "yaw", 0.0),) * 30 + (("move", 1, "yaw", 2.0),) * 40 + (("jump", 1, "yaw", 0.0),) * 10
"""What is held, and how far the camera turns, in each step of the reel."""


def reel(ready, again=27):
    """A moving picture of both panels under ``REEL``, resynced every ``again`` frames, as the bytes of a WebP."""
    ready.world.compile_ahead()
    session = Session(ready, seed=3)
    session.tick()
    session.inbox.append(messages.Switch("record", True))
    for step, (held, value, axis, degrees) in enumerate(REEL):
        factors = ready.spec.names
        held, turn = ({held: value} if held in factors else {}), ({axis: degrees} if axis in factors else {})
        session.inbox.append(messages.Act(held, {}, turn, 0.0))
        if step % again == again - 1:
            session.inbox.append(messages.Order("resync"))
        session.tick()
    return recording.webp(recording.titled(session.recorded, ("REAL", "DREAM")))


def _says(url):
    print(f"play at {url}  (Ctrl-C ends it)", flush=True)
