"""The static folder of ``python -m experiments.export_web``: page, model, places to begin in, runtime."""

import pathlib

import numpy as np

from experiments.live import played
from experiments.live.others import described_factors
from experiments.live.programs import own_sampling
from experiments.live.web.dream_graphs import graph_name, graphs, steps_of
from experiments.live.web.runtime import runtime_files
from experiments.run.config_file import UsageError
from experiments.run.files import write_bytes, write_json
from experiments.run.places import folder_to_write

PAGES = pathlib.Path(__file__).parents[1] / "pages"
SHOWN = {
    "index.html": "web.html",
    "web.js": "web.js",
    "dreamer.js": "dreamer.js",
    "dreamer_worker.mjs": "dreamer_worker.mjs",
    "keys.js": "keys.js",
    "pictures.js": "pictures.js",
    "style.css": "style.css",
    "icon.svg": "icon.svg",
}
"""A file of the folder -> the page that it is."""
ABOUT, CONTEXTS = "about.json", "contexts.bin"
PLACES = 6
WALKED = 12
"""Steps that are walked from where the environment puts one, before a dream begins."""


def export(options):
    """Write the folder that ``options`` of the command name; returns a line for the terminal.

    Raises:
      UsageError: weights, runtime or folder are none.
      ImportError: the extra ``web`` is missing.
    """
    import onnx  # noqa: F401 - asked for before anything takes time

    folder = _folder(options.output)
    ready = played.of_weights(options.weights)
    files = {f"runtime/{name}": content for name, content in runtime_files(options.runtime).items()}
    files |= model_files(ready)
    write(folder, files, about(ready), contexts(ready))
    own = sum(len(content) for name, content in files.items() if not name.startswith("runtime/"))
    whole = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return (
        f"written: {folder}, {whole / 1e6:.1f} MB, of which the model {own / 1e6:.1f}; "
        f"try it with python -m http.server --bind 127.0.0.1 --directory {folder}"
    )


def _folder(path):
    """``path``, made; UsageError where it holds what this command did not write."""
    folder = folder_to_write(path, "--output")
    if any(folder.iterdir()) and not (folder / ABOUT).exists():
        raise UsageError(f"--output={path} holds other files; name an empty folder, or one that this command wrote")
    return folder


def model_files(ready):
    """Of a ``Played``: the files of ``dream_graphs.graphs``."""
    programs = ready.programs
    return graphs(programs.world_model, ready.params[ready.dreamer], programs.frame_shape)


def about(ready):
    """What the page must know of a ``Played``."""
    model, (height, width, _) = ready.programs.world_model, ready.programs.frame_shape
    return {
        "title": ready.title,
        "factors": described_factors(ready.spec),
        "height": height,
        "width": width,
        "context": model.context,
        "noise": [1, 1, *model.latent_shape(ready.programs.frame_shape)],
        "null": ready.spec.null.tolist(),
        "steps": list(steps_of(model)),
        "own_steps": own_sampling(model).steps,
        "second": played.SECOND,
        "weights": ready.weights,
    }


def contexts(ready):
    """Places to begin in: uint8 frames ``[PLACES, n, H, W, 3]`` and int32 actions between them ``[PLACES, n - 1, A]``.

    From each seed of the environment some steps are walked, where one can walk.
    """
    ready.world.compile_ahead()
    n, walk, frames, actions = ready.programs.world_model.context, ready.spec.null.copy(), [], []
    if "move" in ready.spec.names and "forward" in ready.spec.factors[ready.spec.index("move")].labels:
        i = ready.spec.index("move")
        walk[i] = ready.spec.factors[i].labels.index("forward")
    for seed in range(PLACES):
        reality = ready.world.begin(seed)
        seen = [reality.step(walk)[0] for _ in range(WALKED + n)]
        reality.close()
        frames.append(seen[-n:])
        actions.append([walk] * (n - 1))
    shape = (PLACES, n - 1, len(walk))
    return np.array(frames, np.uint8), np.array(actions, np.int32).reshape(shape)


def write(folder, files, described, places):
    """Write it all; ``about.json`` last, so that a folder which has one is whole."""
    frames, actions = places
    (folder / "runtime").mkdir(exist_ok=True)
    for old in (ABOUT, *(path.name for path in folder.glob(graph_name("*")))):
        (folder / old).unlink(missing_ok=True)
    for name, source in SHOWN.items():
        write_bytes(folder / name, (PAGES / source).read_bytes())
    for name, content in files.items():
        write_bytes(folder / name, content)
    write_bytes(folder / CONTEXTS, frames.tobytes())
    write_json(folder / ABOUT, {**described, "places": actions.tolist()}, indent=None)
