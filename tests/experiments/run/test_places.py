"""Folders and files of other commands: usable, or one line that says why not, before anything is done."""

import errno
import json
import pathlib
import subprocess
import sys

import ml_collections
import numpy as np
import pytest

from experiments.run import command_line, failures, finished_run, places
from experiments.run.command_line import UsageError
from experiments.run.directory import Run
from prowl_jax.actions import ActionSpec, choice
from prowl_jax.data.store import ClipStore, StoreWriter

ROOT = pathlib.Path(__file__).parents[3]
CONFIG = ml_collections.ConfigDict({"seed": 0, "world_model": {"steps": 3}})
SPEC = ActionSpec((choice("move", "forward"),))


def one_line(error):
    said = str(error.value)
    assert "\n" not in said and "Errno" not in said and "Traceback" not in said, said
    return said


@pytest.fixture
def bad_places(tmp_path):
    """Places where no folder can be made: as root too, whom no permission stops."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    return {
        "is a file": tmp_path / "file",
        "which is a file": tmp_path / "file" / "run",
        "cannot be": tmp_path / ("n" * 300),
        "null byte": tmp_path / "a\0b",
        "Too many levels": tmp_path / "loop" / "run",
        "/proc": pathlib.Path("/proc/nothing/run"),
    }


def test_a_place_that_cannot_be_made_is_told(bad_places):
    for words, place in bad_places.items():
        for make in (lambda p: places.folder_to_write(p, "--workdir"), lambda p: Run(p, CONFIG)):
            with pytest.raises(UsageError) as error:
                make(place)
            assert words in one_line(error)


def test_a_folder_that_cannot_be_written_is_told_and_nothing_stays(tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(pathlib.Path, "open", refuse)
    with pytest.raises(UsageError, match="cannot be written to: Permission denied; name another folder") as error:
        Run(tmp_path / "run", CONFIG)
    assert str(tmp_path / "run") in one_line(error) and not any((tmp_path / "run").iterdir())


@pytest.mark.parametrize("flag", ["--workdir={}", "--workdir={}/run"])
def test_the_command_line_tells_it_before_anything_is_imported(bad_places, flag, capsys):
    argv = ["--config=experiments/configs/quickstart.py:tiny", flag.format(bad_places["is a file"])]
    with pytest.raises(SystemExit) as exit:
        command_line.parse(argv, program="x")
    said = capsys.readouterr().err
    assert exit.value.code == 2 and said.count("\n") == 1 and "file; name a folder" in said


@pytest.mark.parametrize("given", [["--store="], ["--store", ""], ["--source="], ["--source", "", "--store=x"]])
def test_a_place_that_is_empty_is_told(given, capsys):
    parser = command_line.Parser("x", "y")
    parser.add_argument("--store", metavar="DIR", type=pathlib.Path)
    parser.add_argument("--source", metavar="DIR_OR_INDEX")
    with pytest.raises(SystemExit):
        parser.parse_args(given)
    flag = given[0].removesuffix("=")
    assert capsys.readouterr().err.startswith(f"error: {flag} is empty; write {flag}=DIR")


def test_a_lock_that_cannot_be_opened_leaves_no_traceback(tmp_path):
    """Nor does what is left of it, when it is collected."""
    code = (
        "import sys, gc\n"
        "from experiments.run import lock, config_file\n"
        "try:\n"
        "    lock.take(sys.argv[1])\n"
        "except config_file.UsageError as error:\n"
        "    print(error)\n"
        "gc.collect()\n"
    )
    (tmp_path / ".lock").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr == "" and "cannot be used: .lock: Is a directory" in done.stdout


@pytest.mark.parametrize("text", ["", "[]", "3", "null", "{", '"x"', "[" * 5000, "\udcff"])
@pytest.mark.parametrize("name", ["config.json", "stages.json", "provenance.json"])
def test_files_of_a_run_that_are_none_are_told(tmp_path, text, name):
    Run(tmp_path, CONFIG).run_stage("autoencoder", lambda run: {})
    (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError, match=rf"{name} (cannot be read|is not).*; put it back as it was") as error:
        Run(tmp_path, CONFIG).run_stage("world_model", lambda run: {})
        assert text == "[]" and name == "provenance.json"  # of older runs nobody noted
        raise UsageError(f"{name} is not x; put it back as it was")
    one_line(error)


@pytest.mark.parametrize("stages", [{"world_model": 5}, {"world_model": {}}, {"world_model": {"seconds": "long"}}])
def test_stages_of_another_shape_are_told(tmp_path, stages):
    Run(tmp_path, CONFIG)
    (tmp_path / "stages.json").write_text(json.dumps(stages))
    with pytest.raises(UsageError, match="stages.json does not say how long world_model took") as error:
        Run(tmp_path, CONFIG)
    one_line(error)


@pytest.mark.parametrize(
    "config, words",
    [
        ({"seed": 0}, "has no world_model.steps"),
        ({"seed": "a", "world_model": {"steps": 3}}, "seed='a' is not of the kind of 0"),
        ({"seed": 0, "world_model": 7}, "has no world_model.steps"),
        ({"a.b": 0}, "is not the configuration of a run"),
    ],
)
def test_a_finished_run_of_another_shape_is_told(tmp_path, config, words):
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "stages.json").write_text(json.dumps({"world_model": {"seconds": 1.0}}))
    with pytest.raises(UsageError) as error:
        finished_run.read_config(tmp_path, CONFIG)
    assert words in one_line(error)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EIO])
def test_a_folder_that_is_taken_away_meanwhile_ends_a_run_with_one_line(number):
    error = PermissionError(number, "No", "/run/metrics.jsonl")
    assert failures.explain(error, None, None).startswith("error: No: /run/metrics.jsonl; make it writable, then")


def test_an_empty_folder_is_as_good_as_none_for_a_store(tmp_path):
    (tmp_path / "store").mkdir()
    with StoreWriter(tmp_path / "store", SPEC, (4, 4, 3)) as writer:
        writer.add_episode(np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 1), np.int32))
    assert len(ClipStore.open(tmp_path / "store")) == 2
    with pytest.raises(FileExistsError), StoreWriter(tmp_path / "store", SPEC, (4, 4, 3)):
        pass


def test_a_disk_that_is_full_at_the_end_of_a_store_is_told_once(tmp_path):
    """Every file is closed, so that none complains when it is collected."""
    code = (
        "import gc, resource, sys, numpy as np\n"
        "from prowl_jax.actions import ActionSpec, choice\n"
        "from prowl_jax.data.store import StoreWriter\n"
        "try:\n"
        "    spec = ActionSpec((choice('move', 'f'),))\n"
        "    with StoreWriter(sys.argv[1], spec, (4, 4, 3), {'n': (np.dtype('f4'), ())}) as w:\n"
        "        rows = np.zeros((4, 4, 4, 3), np.uint8), np.zeros((4, 1), np.int32)\n"
        "        w.add_episode(*rows, n=np.zeros(4, np.float32))\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8))\n"
        "except OSError as error:\n"
        "    print(error.strerror)\n"
        "del w; gc.collect()\n"
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr == "" and done.stdout == "File too large\n"
