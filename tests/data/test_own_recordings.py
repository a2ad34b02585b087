"""Anybody's recordings: videos with tables, and arrays, end to end; every mistake is one line that tells the cure."""

import fractions
import functools
import json
import os
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_recordings import grey, write_video

from experiments import import_recordings as command
from prowl_jax.data import columns, own_recordings, tables
from prowl_jax.data.importer import NothingReadError, import_recordings
from prowl_jax.data.recordings import Settings
from prowl_jax.data.store import ClipStore
from prowl_jax.data.vpt_records import RecordingError

SMALL, COUNT, LIST = Settings(size=(8, 16), min_frames=3), 12, "steer:-1..1:5, jump"
STEER, JUMP = np.linspace(-1, 1, COUNT), np.arange(COUNT) % 2


def greys(count=COUNT):
    return 30 + 8 * np.arange(count)


@functools.cache
def _film(folder):
    return write_video(folder / "film.mp4", grey(greys(), (48, 64)), rate=30).read_bytes()


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """The bytes of a video of ``COUNT`` frames of 64x48 pixels at 30 frames a second."""
    return _film(tmp_path_factory.mktemp("film"))


@pytest.fixture
def folder(tmp_path, film):
    """An empty folder, and a function that puts a video with a table into it."""
    source = tmp_path / "in"
    source.mkdir()

    def put(name, text=None, ending=".csv"):
        (source / f"{name}.mp4").write_bytes(film)
        if text is not None:
            (source / f"{name}{ending}").write_text(text)
        return source

    return put


def csv_of(rows=range(COUNT), **more):
    names = ["time", "steer", "jump", *more]
    lines = [",".join(map(str, [t / 30, STEER[t], JUMP[t], *(v[t] for v in more.values())])) for t in rows]
    return "\n".join([",".join(names), *lines]) + "\n"


def read(source, tmp_path, text=LIST, **options):
    summary = import_recordings(source, tmp_path / "clips", SMALL, 1, columns=text, **options)
    return summary, ClipStore.open(tmp_path / "clips")


def wanted():
    return np.stack([np.round((STEER + 1) * 2), JUMP], axis=1).astype(np.int32)


# Videos with tables.


def _write(path, ending):
    rows = [{"steer": float(s), "jump": int(j)} for s, j in zip(STEER, JUMP, strict=True)]
    if ending == ".csv":
        path.write_text(csv_of())
    elif ending == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif ending == ".npz":
        np.savez(path, steer=STEER, jump=JUMP)
    else:
        pytest.importorskip("pyarrow", reason="the extra recordings is not installed")
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.table({"steer": STEER, "jump": JUMP}), path)


@pytest.mark.parametrize("ending", tables.ENDINGS)
def test_a_video_with_its_table_of_each_kind(folder, tmp_path, ending):
    source = folder("sub")
    _write(source / f"sub{ending}", ending)
    summary, store = read(source, tmp_path)
    assert (summary.episodes, summary.frames, summary.skipped) == (1, COUNT, [])
    assert store.spec.names == ("steer", "jump") and store.spec.sizes == (5, 2)
    np.testing.assert_array_equal(store.actions, wanted())
    np.testing.assert_allclose(store.frames[:, 4, 8, 0], greys(), atol=4)
    assert store.origins[0] == ("sub", 0, COUNT)


def test_frames_alone_have_the_one_action_there_is(folder, tmp_path):
    _, store = read(folder("a"), tmp_path, "none")
    assert len(store) == COUNT and store.spec.sizes == (1,) and not store.actions.any()


def test_a_video_whose_pictures_change_their_size_is_skipped(folder, tmp_path):
    """Motion JPEG: every frame brings its own size."""
    import av

    source = folder("b", csv_of())
    with av.open(str(source / "a.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=30)
        encoders = [stream.codec_context, av.CodecContext.create("mjpeg", "w")]
        for encoder, shape in zip(encoders, ((48, 64), (24, 32)), strict=True):
            encoder.height, encoder.width = shape
            encoder.pix_fmt, encoder.time_base = "yuvj420p", fractions.Fraction(1, 30)
            for t, frame in enumerate(grey(greys(6), shape)):
                picture = av.VideoFrame.from_ndarray(frame, "rgb24")
                picture.pts = t + 6 * (encoder is encoders[1])
                for packet in encoder.encode(picture):
                    packet.stream = stream
                    container.mux(packet)
    (source / "a.csv").write_text(csv_of())
    summary, store = read(source, tmp_path)
    told = "a.avi: frame 6 is 24x32, those before it 48x64; bring all to one size, or cut it there"
    assert summary.skipped == [("a", told)] and len(store) == COUNT


def test_where_rows_are_missing_later_actions_keep_to_their_frames(folder, tmp_path):
    gap = [t for t in range(COUNT) if t not in (4, 5, 6)]
    summary, store = read(folder("a", csv_of(gap)), tmp_path)
    assert store.lengths.tolist() == [4, 5] and summary.left_out == {"missing": 3}
    np.testing.assert_array_equal(store.actions, wanted()[gap])
    np.testing.assert_allclose(store.frames[:, 4, 8, 0], greys()[gap], atol=4)


def test_an_empty_cell_leaves_its_frame_out(folder, tmp_path):
    text = csv_of().replace(f",{STEER[5]},", ",,")
    summary, store = read(folder("a", text), tmp_path)
    assert store.lengths.tolist() == [5, 6] and summary.left_out == {"unknown": 1}


def test_to_truncate_has_to_be_asked_for(folder, tmp_path):
    source = folder("a", csv_of(range(7)))
    with pytest.raises(NothingReadError) as none:
        read(source, tmp_path)
    assert none.value.summary.skipped[0][1].startswith("a.csv has 7 rows and a.mp4 12 frames; give a row for each")
    _, store = read(source, tmp_path, truncate=True)
    np.testing.assert_array_equal(store.actions, wanted()[:7])


def test_in_parallel_and_interrupted_it_is_the_same_store(folder, tmp_path):
    for name in "abc":
        source = folder(name, csv_of())
    kwargs = {"columns": LIST}
    import_recordings(source, tmp_path / "one", SMALL, 1, **kwargs)

    def stop(done, total, frames):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_recordings(source, tmp_path / "two", SMALL, 1, stop, **kwargs)
    with pytest.raises(FileExistsError, match="made with other settings"):
        import_recordings(source, tmp_path / "two", SMALL, 1, columns="jump")
    import_recordings(source, tmp_path / "two", SMALL, 2, **kwargs)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("one", "two"))
    assert one == two


BAD = {
    "no such column": (csv_of().replace("steer", "wheel"), "a.csv has no column 'steer'; there are time, wheel, jump"),
    "empty": ("", "a.csv is empty: it needs a row for each frame"),
    "a ragged row": (csv_of() + "1,2\n", "a.csv: row 13 has 2 cells, its head 3"),
    "no table": (None, "a.mp4 has no table beside it"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_off_is_one_line_and_the_others_are_read(folder, tmp_path, case):
    text, told = BAD[case]
    folder("a", text)
    summary, store = read(folder("b", csv_of()), tmp_path)
    assert len(store) == COUNT and [name for name, _ in summary.skipped] == ["a"]
    assert summary.skipped[0][1].startswith(told) and "\n" not in summary.skipped[0][1]


def test_a_clock_that_jumps_cuts_there(folder, tmp_path):
    _, store = read(folder("a", csv_of([0, 1, 2, 9])), tmp_path)
    assert store.lengths.tolist() == [3]
    np.testing.assert_array_equal(store.actions, wanted()[:3])


def test_a_parquet_file_of_another_schema(folder, tmp_path):
    pytest.importorskip("pyarrow", reason="the extra recordings is not installed")
    import pyarrow as pa
    from pyarrow import parquet

    source = folder("a")
    parquet.write_table(pa.table({"steer": [["x"]] * COUNT, "speed": STEER}), source / "a.parquet")
    folder("b")
    (source / "b.parquet").write_bytes(b"PAR1 no more")
    folder("c")
    parquet.write_table(pa.table({"steer": [{"x": 1}] * COUNT}), source / "c.parquet")
    with pytest.raises(NothingReadError) as none:
        read(source, tmp_path)
    said = dict(none.value.summary.skipped)
    assert "a.parquet has no column" in said["a"] and said["b"].startswith("b.parquet cannot be read as parquet")
    assert said["c"].startswith("c.parquet has no columns of numbers")
    assert not (tmp_path / "clips.partial").exists()


def test_without_columns_it_says_that_they_are_needed(folder, tmp_path):
    source = folder("a", csv_of())
    with pytest.raises(ValueError, match="has actions in .csv and none in .jsonl, .*: say with --columns=LIST which"):
        import_recordings(source, tmp_path / "clips", SMALL, 1)
    assert not (tmp_path / "clips").exists()


# Arrays.


@pytest.mark.parametrize("form", ["npz", "h5", "h5 groups", "float CHW"])
def test_episodes_as_arrays(tmp_path, form):
    source, frames = tmp_path / "in", np.broadcast_to(greys()[:, None, None, None], (COUNT, 8, 16, 3)).astype(np.uint8)
    source.mkdir()
    arrays = {"frames": frames, "actions": np.stack([STEER, JUMP], 1), "dones": np.arange(COUNT) == 4}
    if form == "float CHW":
        arrays["frames"] = (frames / 255).transpose(0, 3, 1, 2).astype(np.float32)
    if form.startswith("h5"):
        h5py = pytest.importorskip("h5py", reason="the extra recordings is not installed")
        with h5py.File(source / "a.h5", "w") as file:
            for name, array in arrays.items():
                file[f"e0/{name}" if "groups" in form else name] = array
    else:
        np.savez_compressed(source / "a.npz", **arrays)
    _, store = read(source, tmp_path, "steer=actions.0:-1..1:5, jump=actions.1")
    assert store.lengths.tolist() == [5, 7]
    np.testing.assert_array_equal(store.actions, wanted())
    np.testing.assert_allclose(store.frames, frames, atol=2)


def test_arrays_without_images(tmp_path):
    np.savez(tmp_path / "a.npz", actions=STEER)
    np.savez(tmp_path / "b.npz", frames=np.zeros((5, 7)), actions=np.zeros(5))
    np.savez(tmp_path / "c.npz", frames=np.full((5, 8, 8, 3), 7.0), actions=np.zeros(5))
    found = own_recordings.find(tmp_path, SMALL.size)
    said = [own_recordings.read_own(own, tmp_path / "out", SMALL, text="actions") for own in found]
    assert [part.skipped.split(";")[0] for part in said] == [
        "a.npz has no array 'frames', it has actions",
        "b.npz: frames of shape [5, 7] are no images",
        "c.npz: frames of float64 must lie in 0..1",
    ]


# The text that names columns.


def test_kinds_of_columns():
    made = columns.parse("a, b:3, c=x.0:-2..2:5, d:camera:20:7")
    assert made.spec.names == ("a", "b", "c", "d") and made.spec.sizes == (2, 3, 5, 7)
    assert made.spec.null.tolist() == [0, 0, 2, 3] and made.spec.camera_factors == (3,)
    table = {"a": np.array([0.0, 9.0]), "b": np.array([2.0, 3.0]), "x.0": np.array([9.0, -0.4]), "d": np.zeros(2)}
    actions, known = made.encode(table, "t")
    assert actions.tolist()[0] == [0, 2, 4, 3] and known.tolist() == [True, False]  # 3 is no choice among 0..2


@pytest.mark.parametrize(
    "text", ["", ",", "a:", "a:1", "a:9999", "a:2..1", "a:x..y", "a:camera:x", "a:camera:10:4", "a, a", "a:1..nan"]
)
def test_a_text_that_names_no_columns_is_one_line(text):
    if text == "a:":
        assert columns.parse(text).spec.sizes == (2,)
        return
    with pytest.raises(ValueError, match="columns") as told:
        columns.parse(text)
    assert "\n" not in str(told.value)


@given(st.text(alphabet="abc:.,=-+0123456789 enrmcuai", max_size=24))
def test_any_text_is_columns_or_one_line(text):
    try:
        assert all(size <= columns.MOST for size in columns.parse(text).spec.sizes)
    except ValueError as told:
        assert str(told).startswith("columns")


@settings(max_examples=60, deadline=None)
@given(
    ending=st.sampled_from(tables.ENDINGS), content=st.binary(max_size=60) | st.text(max_size=60), cut=st.integers(0)
)  # fmt: skip
def test_any_bytes_are_a_table_or_one_line(ending, content, cut, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / f"any{ending}"
    content = content if isinstance(content, bytes) else content.encode(errors="surrogatepass")
    if cut % 3 == 0:  # a good file, damaged
        _write(path, ending)
        good = bytearray(path.read_bytes())
        at = cut % len(good)
        content = bytes(good[:at]) + content
    path.write_bytes(content)
    try:
        table = tables.read_table(path)
    except RecordingError as told:
        assert str(told).startswith(f"any{ending}") and "\n" not in str(told)
    else:
        assert all(values.dtype == np.float64 for values in table.values())


# The command.


def test_the_command_tells_what_was_read_and_mistakes_in_one_line(folder, tmp_path, capsys):
    source = folder("a", csv_of())
    flags = [f"--source={source}", f"--store={tmp_path / 'clips'}", "--size=8x16", "--workers=1", "--min-frames=3"]
    assert command.main([*flags, f"--columns={LIST}"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "read: 1 episodes, 12 frames; skipped: 0 files"
    for more, told in (
        ("--columns=", "no --columns given"),
        ("--truncate", "no --columns given"),
        ("--columns=steer:5..1", "its limits are not two numbers"),
        (f"--columns={LIST}, more", "exists already"),
    ):
        with pytest.raises(SystemExit) as ended:
            command.main([*(f for f in flags), more])
        output = capsys.readouterr()
        assert ended.value.code == 2 and output.err.count("\n") == 1
        assert told in output.err or "other settings" in output.err
    assert sorted(os.listdir(tmp_path)) == ["clips", "in"]


def test_without_the_extra_it_says_what_to_install(folder, tmp_path, monkeypatch):
    source = folder("a")
    (source / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match="pip install 'prowl_jax.recordings.'"):
        read(source, tmp_path)
