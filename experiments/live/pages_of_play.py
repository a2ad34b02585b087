"""The pages of ``python -m experiments.play``, from its options."""

from experiments.live import played, server
from experiments.live.play_socket import Table
from experiments.live.stage import Stage
from experiments.run.memory import keep_freed_memory
from prowl_jax.train.compilation_cache import enable_compilation_cache

PAGES = {
    "/": "play.html",
    "/play.js": "play.js",
    "/keys.js": "keys.js",
    "/socket.js": "socket.js",
    "/style.css": "style.css",
    "/icon.svg": "icon.svg",
}


def serve_play(options):
    """Serve until interrupted; returns the exit code. What is wrong with the options is told before: UsageError."""
    keep_freed_memory()
    enable_compilation_cache()
    if options.workdir is not None:
        ready = played.of_run(options.workdir, options.arm, options.task)
    else:
        ready = played.of_weights(options.weights, options.task)
    if options.finds is not None:
        options.finds.mkdir(parents=True, exist_ok=True)
    table = Table(Stage(ready).start(), options.finds)
    app = server.application(PAGES, table.sit, table.status)
    return server.serve(app, options.host, options.port, opens=options.browser, says=_says)


def _says(url):
    print(f"play at {url}  (Ctrl-C ends it)", flush=True)
