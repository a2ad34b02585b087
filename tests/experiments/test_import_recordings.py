"""The command: its last line, what it says of bad files and mistakes, and the comparison of speeds."""

import json
import os
import pathlib
import resource
import subprocess
import sys
import types

import av
import cv2
import pytest
from toy_recordings import tick, write_recording

from experiments import import_recordings
from experiments.benchmarks import reading_speed
from prowl_jax.data.store import ClipStore

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    for name, count in (("a", 25), ("b", 30)):
        write_recording(folder, name, count)
    write_recording(folder, "sub", 4, [tick()] * 4)
    (folder / "empty.mp4").touch()
    (folder / "empty.jsonl").write_bytes((folder / "a.jsonl").read_bytes())
    return folder


def run(*argv):
    return import_recordings.main([str(argument) for argument in argv])


def mistake(capsys, *argv):
    """The one line on stderr that a mistake is answered with; exit code 2."""
    with pytest.raises(SystemExit) as exit:
        run(*argv)
    output = capsys.readouterr()
    assert exit.value.code == 2 and "Traceback" not in output.err
    assert output.err.count("\n") == 1 and output.err.startswith("error: ")
    return output.err


def test_the_last_line_says_what_was_read(folder, tmp_path, capsys):
    assert run(f"--source={folder}", f"--store={tmp_path / 'clips'}", "--size=8x16", "--workers=1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "read: 2 episodes, 55 frames; skipped: 2 files"
    assert lines[:2] == ["skipped empty.mp4 is empty", "skipped sub has no 20 ticks in a row to keep"]
    assert lines[2].startswith("took ") and lines[2].endswith(" frames/s")
    store = ClipStore.open(tmp_path / "clips")
    assert store.lengths.tolist() == [25, 30] and store.frame_shape == (8, 16, 3)
    # The same command again says the same, and does nothing.
    assert run(f"--source={folder}", f"--store={tmp_path / 'clips'}", "--size=8x16") == 0
    assert capsys.readouterr().out.splitlines() == [*lines[:2], lines[-1]]


def test_flags_arrive(folder, tmp_path, capsys):
    flags = ["--size=9x12", "--gui=cursor", "--skip-nulls", "--min-frames=26", "--workers=1"]
    assert run(f"--source={folder}", f"--store={tmp_path / 'clips'}", *flags) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "read: 1 episodes, 30 frames; skipped: 3 files"
    head = (tmp_path / "clips" / "recordings.jsonl").read_text().splitlines()[0]
    settings = {"size": [9, 12], "gui": "cursor", "skip_nulls": True, "min_frames": 26, "max_frames": 0}
    assert json.loads(head) == {"settings": settings}


def test_an_index_tells_what_is_not_downloaded(folder, tmp_path, capsys):
    index = folder / "index.json"
    index.write_text('{"basedir": "https://example.org/", "relpaths": ["x/a", "x/not-here.mp4"]}')
    assert run(f"--source={index}", f"--store={tmp_path / 'clips'}", "--size=8x16", "--workers=1") == 0
    index.unlink()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "not downloaded: 1 recordings of the index"
    assert lines[-1] == "read: 1 episodes, 25 frames; skipped: 0 files"


def test_where_nothing_can_be_read_the_exit_code_is_2(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").touch()
    with pytest.raises(SystemExit) as exit:
        run(f"--source={tmp_path / 'in'}", f"--store={tmp_path / 'clips'}")
    output = capsys.readouterr()
    assert exit.value.code == 2 and os.listdir(tmp_path) == ["in"]
    assert output.out.splitlines()[-1] == "read: 0 episodes, 0 frames; skipped: 1 files"
    assert output.err.splitlines()[-1] == f"error: no episode could be read from {tmp_path / 'in'}"


MISTAKES = {
    "nothing": ([], "no --source given"),
    "no store": (["--source=x"], "no --store given"),
    "an empty source": (["--source=", "--store=s"], "--source is empty; write --source=DIR_OR_INDEX"),
    "an empty store": (["--source=in", "--store="], "--store is empty; write --store=DIR"),
    "a store in the source": (["--source=in", "--store=in/s"], "in/s lies inside the source in; name a folder"),
    "too long a store": (["--source=in", "--store=" + 300 * "s"], "File name too long"),
    "no such source": (["--source=no", "--store=s"], "no folder or index file no; download an index file"),
    "no size": (["--source=x", "--store=s", "--size=128"], "'128' is not HxW, such as 128x128"),
    "a size too large": (["--source=.", "--store=s", "--size=720x1280"], "size must be HxW within 8x8..360x640"),
    "no count": (["--source=x", "--store=s", "--min-frames=0"], "'0' is not a whole number of at least 1"),
    "another gui": (["--source=x", "--store=s", "--gui=keep"], "invalid choice: 'keep'"),
    "a misspelt flag": (["--sorce=x", "--store=s"], "no flag '--sorce=x', did you mean --source?"),
    "a stray word": (["x", "--source=x", "--store=s"], "no flag 'x'"),
    "a store under a file": (["--source=in", "--store=file/s"], "file/s lies under file, which is a file; name"),
    "a store that is another": (["--source=in", "--store=other"], "other exists already"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_one_line_and_write_nothing(folder, tmp_path, monkeypatch, capsys, case):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").symlink_to(folder)
    (tmp_path / "file").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious").touch()
    argv, message = MISTAKES[case]
    assert message in mistake(capsys, *argv)
    assert sorted(os.listdir(tmp_path)) == ["file", "in", "other"] and os.listdir("other") == ["precious"]


def test_without_pyav_nothing_is_written(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "av", None)
    assert "needs PyAV: pip install" in mistake(capsys, f"--source={folder}", f"--store={tmp_path / 'clips'}")
    assert os.listdir(tmp_path) == []


def test_interrupted_it_says_how_to_go_on(folder, tmp_path, monkeypatch, capsys):
    command = [f"--source={folder}", f"--store={tmp_path / 'clips'}", "--size=8x16", "--workers=1"]
    opened = av.open

    def interrupt(path, *arguments, **options):
        if path.endswith("b.mp4"):
            raise KeyboardInterrupt
        return opened(path, *arguments, **options)

    monkeypatch.setattr(av, "open", interrupt)
    assert run(*command) == 130
    assert "the same command goes on from here" in capsys.readouterr().err
    monkeypatch.undo()
    assert run(*command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "read: 2 episodes, 55 frames; skipped: 2 files"
    assert " for 30 frames: " in lines[2]


def test_the_comparison_of_speeds_reads_the_same_frames_in_both_ways(folder, monkeypatch):
    """25 + 30 + 4 frames, twice, so that there are 60; it ends where one way reads fewer."""
    lines = reading_speed.compare(str(folder), (8, 16), 1, turns=1, least_frames=60).splitlines()
    assert "118 frames of 3 recordings" in lines[0] and "median of 1 turns" in lines[0]
    here, theirs, ratio = (float(line.rsplit(": ", 1)[1].removesuffix(" frames/s")) for line in lines[1:])
    assert here > 0 and ratio == pytest.approx(here / theirs, rel=0.05)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: types.SimpleNamespace(read=lambda: (False, None), release=bool))
    with pytest.raises(RuntimeError, match="0 frames were read, and there are 118"):
        reading_speed.compare(str(folder), (8, 16), 1, turns=1, least_frames=60)


def test_the_comparison_of_speeds_needs_opencv(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cv2", None)
    message = mistake(capsys, f"--source={folder}", "--compare-speed")
    assert "--compare-speed needs OpenCV: pip install opencv-python-headless" in message


def test_as_a_command_with_processes(folder, tmp_path):
    flags = [f"--source={folder}", f"--store={tmp_path / 'clips'}", "--size=8x16", "--workers=2"]
    command = [sys.executable, "-m", "experiments.import_recordings", *flags]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=300, check=True)
    assert done.stdout.splitlines()[-1] == "read: 2 episodes, 55 frames; skipped: 2 files"
    assert len(ClipStore.open(tmp_path / "clips")) == 55


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(folder, tmp_path, workers):
    flags = [f"--source={folder}", f"--store={tmp_path / 'clips'}", "--size=72x128", f"--workers={workers}"]
    command = [sys.executable, "-m", "experiments.import_recordings", *flags]

    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, preexec_fn=full)
    error = [line for line in done.stderr.splitlines() if not line.startswith("recordings")]
    assert done.returncode == 2 and error == [
        f"error: {tmp_path / 'clips'}: File too large; make room, then the same command goes on"
    ]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
