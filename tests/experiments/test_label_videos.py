"""Videos without actions get those that the model reads off them, in the recordings' own format."""

import json

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_recordings import write_video

from experiments import label_videos as command
from experiments.converting.video_actions import in_windows, label_videos
from prowl_jax.data.recordings import Settings, read_recording
from prowl_jax.data.sources import find
from prowl_jax.data.video import FRAME_SHAPE
from prowl_jax.data.vpt import as_records, read_ticks
from prowl_jax.minecraft import MINERL_KEYS, SPEC, minerl_to_factors, vpt_to_minerl
from prowl_jax.models.policies.vpt_frames import resize
from prowl_jax.models.policies.vpt_idm import IDMNetwork, VPTInverseDynamics
from prowl_jax.models.published import vpt_weights

pytest.importorskip("av")
pytest.importorskip("safetensors")

NETWORK = dict(channels=(4, 6, 8), hidden=16, heads=2, time_channels=5, image=16, temperature=1.0)


def test_what_is_written_is_read_as_the_same_actions(tmp_path):
    rng = np.random.default_rng(0)
    action = {key: rng.integers(0, 2, 50) for key in MINERL_KEYS}
    action["camera"] = rng.normal(0, 6, (50, 2)).astype(np.float32)
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in as_records(action)))
    ticks = read_ticks(path)
    for i, key in enumerate(MINERL_KEYS):
        np.testing.assert_array_equal(ticks.keys[:, i], action[key], err_msg=key)
    np.testing.assert_allclose(ticks.camera, action["camera"], rtol=1e-6)
    assert not ticks.gui.any()


@given(total=st.integers(1, 70), window=st.sampled_from([4, 8, 12]))
def test_every_frame_is_told_once_and_from_the_middle_of_a_window(total, window):
    """The prediction for a frame is its number, and where it stood in the window that told it."""
    places = []

    def predict(frames):
        assert len(frames) == min(window, total)
        return np.stack([frames, np.arange(len(frames))], axis=1)

    places = in_windows(predict, np.arange(total), window)
    np.testing.assert_array_equal(places[:, 0], np.arange(total))
    for frame, place in places:
        to_end = min(window, total) - 1 - place
        assert place >= window // 4 or place == frame, "only at the beginning of the video"
        assert to_end >= window // 4 or to_end == total - 1 - frame, "only at its end"


@pytest.fixture(scope="module")
def model():
    """A small random model whose predictions change from frame to frame: (model, parameters)."""
    model = VPTInverseDynamics(IDMNetwork(**NETWORK))
    shapes, rng = jax.eval_shape(model.init, jax.random.key(0)), np.random.default_rng(4)

    def draw(path, x):  # large weights without biases: predictions hang on the frames
        kept = float("scale" in str(path[-1]))
        return (rng.normal(size=x.shape) if x.ndim > 1 else np.full(x.shape, kept)).astype(np.float32)

    return model, jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.fixture
def folder(tmp_path, model):
    """A folder with a video without actions, one with, one that is broken; and the weights beside it."""
    vpt_weights.save(tmp_path / "idm.safetensors", vpt_weights.to_published(model[1]), 1.0)
    frames = np.random.default_rng(2).integers(0, 256, (24, 6, 8, 3), np.uint8).repeat(60, 1).repeat(80, 2)
    assert frames.shape[1:3] == FRAME_SHAPE
    source = tmp_path / "videos"
    (source / "deep").mkdir(parents=True)
    write_video(source / "deep" / "new.mp4", frames)
    write_video(source / "old.mp4", frames[:4])
    (source / "old.jsonl").write_text("kept")
    (source / "broken.mp4").write_bytes(b"no video")
    return source


def test_a_folder_is_labelled_once_and_becomes_recordings(folder, model, tmp_path):
    weights = folder.parent / "idm.safetensors"
    said = label_videos(folder, weights, window=8).splitlines()
    assert said[0].startswith("skipped broken.mp4") and len(said) == 2
    assert said[1] == "labelled: 1 videos, 24 frames; had actions: 1; skipped: 1"
    assert (folder / "old.jsonl").read_text() == "kept" and not (folder / "broken.jsonl").exists()
    recording = next(r for r in find(folder)[0] if r.name == "deep/new")
    part = read_recording(recording, tmp_path / "frames", Settings(size=FRAME_SHAPE, min_frames=8))
    assert part.skipped == "" and len(part.actions) == 24
    seen = np.fromfile(tmp_path / "frames", np.uint8).reshape(24, *FRAME_SHAPE, 3)
    logits = np.asarray(model[0].apply(model[1], resize(seen, 16)[None, :8])[0])  # of the first window
    keys = (logits[:, 1:40:2] > logits[:, 0:40:2]).astype(int)
    bins = np.stack([logits[:, 40:51].argmax(1), logits[:, 51:].argmax(1)], axis=1)
    expected = minerl_to_factors(vpt_to_minerl(keys, bins))
    np.testing.assert_array_equal(part.actions[:6], expected[:6])
    assert len({row.tobytes() for row in SPEC.check(part.actions)}) > 1, "the same for every frame proves little"
    before = (folder / "deep" / "new.jsonl").stat().st_mtime_ns
    assert label_videos(folder, weights).splitlines()[-1].startswith("labelled: 0 videos, 0 frames; had actions: 2")
    assert (folder / "deep" / "new.jsonl").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda folder: ["--weights=/no/file"], "no VPT weights at /no/file: download"),
        (lambda folder: [f"--source={folder.parent / 'none'}"], "no folder or index file"),
        (lambda folder: ["--wieghts=x"], "--wieghts"),
    ],
)
def test_mistakes_are_one_line(folder, capsys, change, words):
    flags = [f"--source={folder}", f"--weights={folder.parent / 'idm.safetensors'}", *change(folder)]
    with pytest.raises(SystemExit) as exit:
        command.main(flags)
    error = capsys.readouterr().err
    assert exit.value.code == 2 and words in error and error.count("\n") == 1


def test_weights_of_other_bins_are_refused(folder):
    other = VPTInverseDynamics(IDMNetwork(**NETWORK, bins=3))
    arrays = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), jax.eval_shape(other.init, jax.random.key(0)))
    vpt_weights.save(folder.parent / "other.safetensors", vpt_weights.to_published(arrays), 1.0)
    with pytest.raises(ValueError, match="has 3 bins a camera axis; Minecraft's actions have 11"):
        label_videos(folder, folder.parent / "other.safetensors")
