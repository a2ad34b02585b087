"""Frames: all of them in order, resized by area after conversion, the cursor, and every damage named."""

import sys

import numpy as np
import pytest
from skimage.transform import downscale_local_mean
from toy_recordings import (
    grey,
    grey_of,
    panorama,
    real_recording,
    write_recording,
    write_video,
)

from prowl_jax.data.video import draw_pointer, read_frames
from prowl_jax.data.vpt import RecordingError


@pytest.fixture(scope="module")
def pan(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("pan") / "pan.mp4", panorama(np.arange(12) * 3.0))


def converted(path, every=1):
    """Every so many frames, at full size as PyAV converts them."""
    import av

    with av.open(str(path)) as container:
        frames = enumerate(container.decode(video=0))
        return [frame.to_ndarray(format="rgb24") for t, frame in frames if t % every == 0]


def by_area(image, size):
    """Mean over the area of every new pixel, in float, a matrix for rows and one for columns."""

    def overlap(old, new):
        edges = np.arange(new + 1) * old / new
        low, high = np.arange(old), np.arange(old) + 1
        shared = np.minimum(high, edges[1:, None]) - np.maximum(low, edges[:-1, None])
        return np.clip(shared, 0, None) * new / old

    rows, columns = (overlap(old, new) for old, new in zip(image.shape[:2], size, strict=True))
    return np.einsum("hi,ijc,wj->hwc", rows, image.astype(np.float64), columns, optimize=True)


def test_every_frame_once_and_in_order(tmp_path):
    path = write_recording(tmp_path, "a", 40)
    for threads in (1, 2):
        frames = list(read_frames(path, (8, 16), threads=threads))
        assert len(frames) == 40 and frames[0].shape == (8, 16, 3) and frames[0].dtype == np.uint8
        np.testing.assert_allclose([f.mean() for f in frames], grey_of(np.arange(40)), atol=1.9)


@pytest.mark.parametrize("size", [(128, 128), (72, 128), (37, 53), (360, 640)])
def test_resizing_is_conversion_and_then_the_mean_over_the_area(pan, size):
    for frame, whole in zip(read_frames(pan, size), converted(pan), strict=True):
        assert np.abs(frame - by_area(whole, size)).max() < 1.0


def test_whole_blocks_against_another_library(pan):
    frame, whole = next(iter(read_frames(pan, (72, 128)))), converted(pan)[0]
    assert np.abs(frame - downscale_local_mean(whole, (5, 5, 1))).max() < 1.0


def test_a_real_recording_is_resized_as_exactly():
    path, _ = real_recording()
    wanted = np.arange(1000) % 60 == 0
    frames = [frame for frame in read_frames(path, (128, 128), wanted=wanted) if frame is not None]
    for frame, whole in zip(frames, converted(path, 60), strict=True):
        assert np.abs(frame - by_area(whole, (128, 128))).max() < 1.0


def test_unwanted_frames_are_counted_but_not_converted(tmp_path):
    path = write_recording(tmp_path, "a", 8)
    frames = list(read_frames(path, (8, 16), wanted=np.array([0, 1, 1, 0, 1, 0], bool)))
    assert [frame is not None for frame in frames] == [False, True, True, False, True, False, False, False]
    assert abs(frames[4].mean() - grey_of(4)) < 1.9


def test_the_cursor_is_drawn_where_it_was(tmp_path):
    path = write_recording(tmp_path, "a", 3)
    cursor = np.array([[np.nan, np.nan], [200.0, 100.0], [5000.0, -3.0]])
    none, at, outside = read_frames(path, (360, 640), cursor=cursor)
    plain = list(read_frames(path, (360, 640)))
    np.testing.assert_array_equal(none, plain[0])
    np.testing.assert_array_equal(outside, plain[2])  # of another window size than the recorder's
    changed = np.argwhere(np.abs(at.astype(int) - plain[1]).max(-1) > 8)
    assert changed.min(0).tolist() == [50, 100]  # half of 720-pixel coordinates: row y, column x
    assert (changed.max(0) <= [65, 115]).all()
    assert at[55, 102].min() == 255 and at[50, 100].max() == 0


@pytest.mark.parametrize("x, y, left", [(0, 0, 115), (635, 350, 45), (-4, 5, None), (640, 360, 0), (-16, -16, 0)])
def test_a_pointer_at_the_border_is_cut(x, y, left):
    image = np.full((360, 640, 3), 128, np.uint8)
    draw_pointer(image, x, y)
    drawn = (image != 128).any(-1)
    assert left is None or drawn.sum() <= left
    assert drawn.any() == (x < 640 and y < 360 and x > -16)


# Damage.


def cut(name):
    def damage(folder):
        path = write_video(folder / "a.mp4", grey(np.arange(60)), options={"movflags": "faststart"} if name else {})
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])

    return damage


def scribble(folder):
    path = write_video(folder / "a.mp4", panorama(np.arange(30)))
    content = bytearray(path.read_bytes())
    middle = content.find(b"mdat") + len(content) // 2
    content[middle : middle + 400] = np.random.default_rng(0).bytes(400)
    path.write_bytes(content)


def sound(folder):
    import av

    with av.open(str(folder / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 44100
        for packet in [*stream.encode(silence), *stream.encode(None)]:
            container.mux(packet)


DAMAGE = {
    "empty": (lambda folder: (folder / "a.mp4").write_bytes(b""), "a.mp4 is empty"),
    "not a video": (lambda folder: (folder / "a.mp4").write_text("hello " * 1000), "a.mp4 is not a video"),
    "cut off, index at the end": (cut(""), "a.mp4 is cut off: its index is incomplete"),
    "cut off, index in front": (cut("fast"), "a.mp4 is cut off or damaged: it decodes up to frame "),
    "damaged": (scribble, "a.mp4 is cut off or damaged: it decodes up to frame "),
    "another size": (
        lambda folder: write_video(folder / "a.mp4", grey([9] * 3, (180, 320))),
        "a.mp4 is 320x180 pixels, not 640x360",
    ),
    "another rate": (
        lambda folder: write_video(folder / "a.mp4", grey([9] * 3), rate=30),
        "a.mp4 has 30 frames a second, not 20",
    ),
    "sound": (sound, "a.mp4 holds no video"),
}


@pytest.mark.parametrize("case", DAMAGE)
@pytest.mark.parametrize("threads", [1, 2])
def test_damage_is_named_in_one_line(tmp_path, case, threads):
    damage, message = DAMAGE[case]
    damage(tmp_path)
    with pytest.raises(RecordingError) as caught:
        list(read_frames(tmp_path / "a.mp4", (8, 16), threads=threads))
    assert message in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_without_pyav_one_line_says_what_to_install(tmp_path, monkeypatch):
    path = write_recording(tmp_path, "a", 3)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"needs PyAV: pip install 'prowl_jax\[data\]'"):
        list(read_frames(path, (8, 16)))
