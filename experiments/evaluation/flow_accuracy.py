"""End-point errors and speeds of optical flows, on pictures whose motion is known."""

import dataclasses
import statistics
import time

import numpy as np

TRANSLATIONS = ((0.4, -0.3), (1.5, 0.5), (4.0, -1.0), (8.0, 2.0))
"""Right and down, in pixels."""
ROTATIONS = (1.0, 3.0, 6.0, 10.0)
"""About the centre, in degrees."""
TEXTURES = 4
"""Pictures for every motion."""
WAVES, SHORTEST, LONGEST = 60, 6.0, 32.0
TURNS = 5


@dataclasses.dataclass(frozen=True)
class Scene:
    """Pairs of pictures with a known motion.

    Attributes:
      name: of the motion. first, second: float32 ``[TEXTURES, H, W, 3]`` in 0..1.
      flow: ``[H, W, 2]``, right and down. seen: bool ``[H, W]``, what stays in the picture.
    """

    name: str
    first: np.ndarray
    second: np.ndarray
    flow: np.ndarray
    seen: np.ndarray


def scenes(height, width, seed):
    """One ``Scene`` for every motion."""
    rng = np.random.default_rng(seed)
    pictures = [_waves(rng) for _ in range(TEXTURES)]
    moves = [(f"move {x:g}, {y:g}", np.eye(2), np.array([x, y])) for x, y in TRANSLATIONS]
    for degrees in ROTATIONS:
        angle = np.deg2rad(degrees)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        moves.append((f"turn {degrees:g}", turn, np.zeros(2)))
    return [_scene(name, pictures, turn, shift, height, width) for name, turn, shift in moves]


def _waves(rng):
    """A picture as a function of coordinates ``[..., 2]``: random waves, the shorter the fainter."""
    length = np.exp(rng.uniform(np.log(SHORTEST), np.log(LONGEST), WAVES))
    direction = rng.uniform(0, 2 * np.pi, WAVES)
    wave = 2 * np.pi / length * np.stack([np.cos(direction), np.sin(direction)])
    height = rng.normal(size=(WAVES, 3)) * length[:, None]
    height *= 0.2 / np.linalg.norm(height, axis=0)
    phase = rng.uniform(0, 2 * np.pi, WAVES)
    return lambda x: 0.5 + np.sin(x @ wave + phase) @ height


def _scene(name, pictures, turn, shift, height, width):
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    x = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1) - centre
    target = x @ turn.T + shift
    source = (x - shift) @ turn  # the inverse of a rotation is its transpose
    first, second = (
        np.stack([np.round(np.clip(picture(at), 0, 1) * 255) / 255 for picture in pictures]).astype(np.float32)
        for at in (x, source)
    )
    return Scene(name, first, second, target - x, (np.abs(target) <= centre).all(axis=-1))


def end_point_error(flow, scene):
    """Mean over pictures and the pixels that stay in sight of ``|flow - true flow|``, in pixels."""
    return float(np.linalg.norm(np.asarray(flow) - scene.flow, axis=-1)[:, scene.seen].mean())


def flows(weights):
    """``{name: f(first, second) -> flow, or a text that says why it is not run}``."""
    import jax

    from prowl_jax.metrics.optical_flow import optical_flow

    found = {"small": jax.jit(optical_flow), "SEA-RAFT": "not run: no weights", "OpenCV DIS": _dense_inverse_search()}
    if weights:
        from prowl_jax.models.published import sea_raft_weights

        model, params = sea_raft_weights.load_sea_raft(weights)
        run = jax.jit(model.flow)
        params = jax.device_put(params)
        found["SEA-RAFT"] = lambda first, second: run(params, first, second)
    return found


def _dense_inverse_search():
    try:
        import cv2
    except ImportError:
        return "not run: OpenCV is not installed (pip install opencv-python-headless)"
    solver = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def grey(x):
        return cv2.cvtColor((x * 255).round().astype(np.uint8), cv2.COLOR_RGB2GRAY)

    return lambda first, second: np.stack(
        [solver.calc(grey(a), grey(b), None) for a, b in zip(first, second, strict=True)]
    )


def milliseconds(flow, scene):
    """Median over turns of the time of a pair, after a first call that compiles."""
    taken = []
    for _ in range(TURNS + 1):
        began = time.perf_counter()
        np.asarray(flow(scene.first, scene.second))
        taken.append(1e3 * (time.perf_counter() - began) / len(scene.first))
    return statistics.median(taken[1:])


def table(height, width, seed, weights=None):
    """The printed text: a line for every flow, a column for every motion, and milliseconds a pair."""
    measured = scenes(height, width, seed)
    title = f"mean end-point error in pixels, {TEXTURES} pictures of {height}x{width} a motion, seed {seed}"
    head = f"{'flow':<12}" + "".join(f"{scene.name:>14}" for scene in measured) + f"{'ms a pair':>12}"
    rows = []
    for name, flow in flows(weights).items():
        if isinstance(flow, str):
            rows.append(f"{name:<12}  {flow}")
            continue
        errors = [end_point_error(flow(scene.first, scene.second), scene) for scene in measured]
        cells = "".join(f"{error:>14.3f}" for error in errors)
        rows.append(f"{name:<12}{cells}{milliseconds(flow, measured[0]):>12.2f}")
    return "\n".join([title, head, *rows])
