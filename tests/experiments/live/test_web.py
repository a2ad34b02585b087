"""The dream as ONNX: the same as JAX's, in a folder that asks for nothing outside of it, in a browser that can."""

import contextlib
import functools
import http.server
import json
import os
import re
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from browsing import CONTRAST, SHOWN, SIZES, changes, content, opened
from mistakes import answer

from experiments import export_web
from experiments.live.programs import Sampling, sampled
from experiments.live.web import dream_graphs, folder, runtime
from experiments.live.web.dream_graphs import graphs, steps_of
from experiments.live.web.jax_to_onnx import to_onnx
from experiments.live.web.onnx_graph import Weights
from experiments.run.config_file import UsageError
from prowl_jax.models.autoencoders.small import Autoencoder
from prowl_jax.models.unet.unet import UNet
from prowl_jax.models.unet.world_model import UNetWorldModel

pytest.importorskip("onnx", reason="writing ONNX needs the extra web")

FRAMES = 8
EQUAL = 1e-3
"""How far a dream in a browser may be from JAX's, of colours in [0, 1] or latents of deviation 1."""
SHAPE = (16, 16, 3)
float_ = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)


@pytest.fixture(scope="module")
def tiny():
    """A world model with every part of the network, and its parameters: of chance, as half precision has them."""
    network = UNet((3, 5), widths=(8, 12), blocks=(1, 1), motion_widths=(8,), motion_blocks=(1,), width=16)
    model = UNetWorldModel(network, sampler_levels=(1.0, 0.3, 0.0))
    params = jax.jit(lambda key: model.init(key, SHAPE))(jax.random.key(0))
    rng = np.random.default_rng(0)
    stirred = jax.tree.map(lambda x: np.float16(x + rng.normal(0, 0.1, x.shape)).astype(np.float32), params["dit"])
    return model, {**params, "dit": stirred}


@pytest.fixture(scope="module")
def files(tiny):
    with pytest.MonkeyPatch.context() as fewer:
        fewer.setattr(dream_graphs, "STEPS", ())
        return graphs(*tiny, SHAPE)


@pytest.fixture(scope="module")
def past():
    """What a dream begins with, and what it is told: frames, noise, actions."""
    rng = np.random.default_rng(1)
    smooth = np.cumsum(rng.normal(0, 20, (1, 2, *SHAPE)), 3) + 128
    noise = rng.normal(size=(FRAMES, 1, 1, 4, 4, 48)).astype(np.float32)
    actions = np.stack([rng.integers(0, size, (1, FRAMES + 1)) for size in (3, 5)], -1).astype(np.int32)
    return np.clip(smooth, 0, 255).astype(np.uint8), noise, actions


def dreamt_by_jax(model, params, past):
    """Frames ``[FRAMES, H, W, 3]`` of a dream that goes on by itself, whose past is the model's own latents."""
    frames, noise, actions = past
    next_chunk = jax.jit(functools.partial(model.next_chunk, params))
    cache, seen = model.prefill(params, model.encode(params, frames), actions[:, :2]), []
    for i in range(FRAMES):
        latents, cache = next_chunk(noise[i], cache, actions[:, i + 1 : i + 2])
        seen.append(np.round(np.asarray(model.decode(params, latents))[0, 0] * 255))
    return np.array(seen).astype(np.uint8)


def same(ours, theirs):
    """Mean over all, and at most one of the 256 steps of a colour where a value lies between two of them."""
    apart = np.abs(ours.astype(float) - theirs.astype(float)) / 255
    return apart.mean() <= EQUAL and apart.max() < 1.5 / 255


def session(where, files, name):
    """A graph as ONNX Runtime has it, which reads the weights from a file beside it."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    for each, content_ in files.items():
        (where / each).write_bytes(content_)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(where / name, options)


def test_eight_frames_are_the_same(tiny, files, past, tmp_path):
    model, params = tiny
    assert set(files) == {"weights.bin", "frame_2.onnx"} and steps_of(model) == (1, 2, 4)
    running, (frames, noise, actions) = session(tmp_path, files, "frame_2.onnx"), past
    seen = []
    for i in range(FRAMES):
        (frame,) = running.run(None, {"noise": noise[i], "frames": frames, "actions": actions[:, i : i + 2]})
        seen.append(frame)
        frames = np.concatenate([frames[:, 1:], frame[None, None]], 1)
    real = dreamt_by_jax(sampled(model, Sampling(2)), params, past)
    assert same(np.array(seen), real) and not same(np.roll(real, 1, 0), real)


def test_latents_are_the_same_and_half_precision_loses_nothing(tiny, tmp_path):
    model, params = tiny
    shapes = {"z": (1, 4, 4, 48), "sigma": (1,), "context": (1, 2, 4, 4, 48), "levels": (1, 2)}
    inputs = {name: float_(shape) for name, shape in shapes.items()}
    inputs["actions"] = jax.ShapeDtypeStruct((1, 2, 2), jnp.int32)
    rng, weights = np.random.default_rng(2), Weights("weights.bin")
    given = {name: rng.uniform(0.1, 0.9, x.shape).astype(x.dtype) for name, x in inputs.items()}

    def network(*seen):
        xhat, guess = model.dit.apply({"params": params["dit"]}, *seen)
        return xhat, guess.frame

    graph = to_onnx(network, inputs, ("xhat", "moved"), weights)
    running = session(tmp_path, {"graph": graph, "weights.bin": weights.content()}, "graph")
    for ours, theirs in zip(running.run(None, given), jax.jit(network)(*given.values()), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=EQUAL / 10)
    count = sum(x.size for x in jax.tree.leaves(params["dit"]))
    assert len(weights.content()) < 2.5 * count


CASES = {
    "strides": lambda x: x[:, 1::2, ::3],
    "reversed": lambda x: jnp.flip(x, (0, 2)),
    "chosen": lambda x: jnp.where(x > 0.2, x, -x) ** 3,
    "clipped": lambda x: jax.lax.clamp(-0.5, x, 0.5),
    "rounded half to even": lambda x: jnp.round(2.0 * jnp.round(x) / 4.0),
    "rows": lambda x: jnp.arange(12.0).reshape(6, 2)[jnp.clip(x.astype(jnp.int32) + 2, 0, 5)],
    "stacked": lambda x: jnp.stack([*jnp.unstack(x, axis=1), x[:, 0]], 1),
    "batches of products": lambda x: jnp.einsum("abc,adc->abd", x, jnp.sin(x)),
    "products over two axes": lambda x: jnp.einsum("abc,bcd->ad", x, jnp.ones((4, 6, 2))),
    "normalised": lambda x: jax.nn.softmax(x) * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True)),
    "broadcast": lambda x: jnp.broadcast_to(x[:, :1], x.shape).transpose(2, 0, 1),
    "strided convolution": lambda x: jax.lax.conv_general_dilated(
        x[None], jnp.arange(54.0).reshape(3, 1, 6, 3), (2, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    ),
    "known": lambda x: (jnp.cos(jnp.arange(5.0)), x.max(0)),
}


def test_operations_are_those_of_jax(tmp_path):
    x = np.random.default_rng(3).normal(0, 2, (3, 4, 6)).astype(np.float32)

    def everything(x):
        return [leaf for case in CASES.values() for leaf in jax.tree.leaves(case(x))]

    expected, weights = everything(x), Weights("weights.bin")
    graph = to_onnx(everything, {"x": float_(x.shape)}, [f"y{i}" for i in range(len(expected))], weights)
    found = session(tmp_path, {"graph": graph, "weights.bin": weights.content()}, "graph").run(None, {"x": x})
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    "function",
    [jnp.sort, lambda x: jax.lax.map(jnp.sin, x), lambda x: jax.lax.round(x), lambda x: x[:, jnp.int32(x[0, 0])]],
)
def test_what_has_no_row_is_named(function):
    with pytest.raises(ValueError, match="row|rounding"):
        to_onnx(function, {"x": float_((3, 4))}, ["y"], Weights("w"))


def test_a_model_that_goes_on_from_more_than_its_frames_is_refused():
    small = Autoencoder(channels=4)
    network = UNet((3, 5), latent_channels=4, motion=False)
    with pytest.raises(UsageError, match="over pixels"):
        graphs(UNetWorldModel(network, small), {}, SHAPE)


def npm_package(place, version="1.30.0"):
    """What has the look of an unpacked npm package."""
    (place / "dist").mkdir(parents=True)
    (place / "package.json").write_text(json.dumps({"name": "onnxruntime-web", "version": version}))
    for name in runtime.FILES:
        (place / "dist" / name).write_bytes(name.encode())
    return place


@pytest.fixture(scope="module")
def written(played, tmp_path_factory):
    """A folder with the runtime named by the environment, or with one that only looks like it."""
    place = tmp_path_factory.mktemp("web")
    named = os.environ.get("ONNXRUNTIME_WEB")
    parts = runtime.runtime_files(named or npm_package(tmp_path_factory.mktemp("npm") / "package"))
    parts = {f"runtime/{name}": content_ for name, content_ in parts.items()}
    folder.write(place, folder.model_files(played) | parts, folder.about(played), folder.contexts(played))
    return place


def test_the_folder_is_whole_and_asks_for_nothing_outside(written):
    there = {path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file()}
    asks = re.compile(r'(?:src|href)="([^"]+)"|(?:from|fetched\(|bytes\(|Worker\() ?"(?:\./)?([^"]+)"')
    for path in written.glob("*.*"):
        if path.suffix in (".html", ".js", ".mjs", ".css", ".svg"):
            text = path.read_text()
            for name in asks.findall(text):
                assert "".join(name) in there, (path.name, name)
            assert not re.search(r"""(?:src|href|url|import|from)\W{1,3}(?:https?:|//)""", text), path.name
    known = json.loads((written / "about.json").read_text())
    assert (written / "contexts.bin").stat().st_size == folder.PLACES * known["context"] * 16 * 16 * 3
    assert known["own_steps"] in known["steps"] and len(known["places"]) == folder.PLACES
    assert known["noise"] == [1, 1, 4, 4, 48] and "MIT License" in (written / "runtime" / "LICENSE").read_text()


def test_mistakes_are_one_line(tmp_path, capsys, monkeypatch):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    new = f"--output={tmp_path / 'new'}"
    say = functools.partial(answer, capsys, export_web.main)
    assert "--output" in say()
    assert "other files" in say(f"--output={tmp_path / 'taken'}")
    assert "is a file" in say(f"--output={tmp_path / 'file'}")
    assert "no weights 'nowhere'" in say(new, "--weights=nowhere")
    monkeypatch.setattr(folder.played, "of_weights", lambda name: None)
    assert "no npm package onnxruntime-web" in say(new, f"--runtime={tmp_path}")
    monkeypatch.setattr(runtime.shutil, "which", lambda name: None)
    assert "npm is not installed" in say(new)
    monkeypatch.setattr(runtime.shutil, "which", lambda name: "false")
    assert "npm could not fetch" in say(new)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "pip install '.[web]'" in say(new)
    assert not any((tmp_path / "new").iterdir())


@pytest.fixture(scope="module")
def address(written):
    """A plain server of the folder."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=written)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def dreams(address):
    """The address, where the true runtime is in the folder."""
    if "ONNXRUNTIME_WEB" not in os.environ:
        pytest.skip("ONNXRUNTIME_WEB names no unpacked npm package onnxruntime-web")
    return address


@contextlib.contextmanager
def dreaming(browser, address, *options):
    with opened(browser, address, *options) as page:
        page.locator("#f-ms").filter(has_not_text="–").wait_for(timeout=3 * SHOWN)
        yield page


@pytest.mark.parametrize(("size", "scheme"), [*zip(SIZES, ("light", "dark"), strict=True)], ids=str)
def test_keys_change_the_dream(browser, dreams, size, scheme):
    with dreaming(browser, dreams, size, scheme) as page:
        page.keyboard.press("p")
        page.locator("#status").filter(has_text="paused").wait_for(timeout=SHOWN)
        page.wait_for_timeout(200)
        still = content(page, "#dream")
        page.wait_for_timeout(300)
        assert content(page, "#dream") == still
        page.keyboard.press("p")
        page.keyboard.down("w")
        assert changes(page, "#dream", still)
        page.keyboard.up("w")
        page.locator("#f-latency").filter(has_not_text="–").wait_for(timeout=SHOWN)
        page.keyboard.press("n")
        assert page.locator("#place").input_value() == "1"
        page.select_option("#steps", "1")
        page.locator("#status").filter(has_text="dreaming").wait_for(timeout=SHOWN)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") and page.evaluate(CONTRAST) == []
        lame = "!(e.labels.length || e.ariaLabel || e.textContent.trim()) || e.tabIndex < 0"
        controls = "[...document.querySelectorAll('button, select, input')].filter(e => e.offsetParent)"
        assert page.evaluate(f"{controls}.filter(e => {lame}).length") == 0 < page.evaluate(f"{controls}.length")


def test_a_browser_dreams_what_jax_dreams(browser, dreams, played):
    """Eight frames under the same noise, and the same seed twice."""
    rng = np.random.default_rng(4)
    noise = rng.normal(size=(FRAMES, 1, 1, 4, 4, 48)).astype(np.float32)
    told = np.array([[i % 3, i % 5] for i in range(FRAMES)], np.int32)
    with dreaming(browser, dreams) as page:
        page.keyboard.press("p")
        found = page.evaluate(
            """async ([noise, told]) => {
              const dreamer = new Dreamer(page.about, page.dreamer.contexts), seen = [];
              dreamer.begin(2, 0);
              for (let i = 0; i < told.length; i++) {
                seen.push([...(await dreamer.next(2, told[i], 1, Float32Array.from(noise[i]))).frame]);
              }
              const drawn = [1, 1, 2].map((seed) => { dreamer.begin(0, seed); return [...dreamer.draw(1)]; });
              return [seen, drawn];
            }""",
            [noise.reshape(FRAMES, -1).tolist(), told.tolist()],
        )
    frames, led = folder.contexts(played)
    actions = np.concatenate([led[2], told])[None]
    model, params = played.programs.model, played.params[played.dreamer]
    real = dreamt_by_jax(sampled(model, Sampling(2)), params, (frames[2:3], noise, actions))
    assert same(np.array(found[0]).reshape(real.shape), real)
    once, again, other = np.array(found[1])
    assert (once == again).all() and (once != other).any()
    assert abs(once.mean()) < 0.15 and abs(once.std() - 1) < 0.15


def said(browser, url, script):
    """What stands on a page for those whose browser cannot dream."""
    page = browser.new_page()
    page.add_init_script(script)
    page.goto(url)
    page.locator("#left").wait_for(timeout=SHOWN)
    words = page.locator("#left").inner_text()
    page.close()
    return words


def test_a_browser_that_cannot_says_so(browser, address, written):
    assert "no WebAssembly SIMD" in said(browser, address, "WebAssembly.validate = () => false;")
    assert "runs no worker from a file" in said(browser, (written / "index.html").as_uri(), "")
    (written / "contexts.bin").rename(written / "away")
    assert "contexts.bin is not there (404)" in said(browser, address, "")
    (written / "away").rename(written / "contexts.bin")
