"""Files are there whole or not at all: a value that cannot be written, a full disk, or a kill leaves the old one."""

import json
import os

import numpy as np
import pytest

from experiments.run import files


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_a_number_that_is_not_finite_is_null(tmp_path):
    """NaN and Infinity are no JSON: a browser and jq refuse the whole file."""

    def refuse(word):
        raise ValueError(word)

    path, broken = tmp_path / "x.json", {"a": [1.5, float("nan"), (np.float64("inf"), "NaN")], 2: {"b": -float("inf")}}
    files.write_json(path, broken)
    files.write_json_lines(tmp_path / "rows", [broken])
    wanted = {"a": [1.5, None, [None, "NaN"]], "2": {"b": None}}
    for text in (path.read_text(), (tmp_path / "rows").read_text()):
        assert json.loads(text, parse_constant=refuse) == wanted


@pytest.mark.parametrize("stage", ["fsync", "replace"])
def test_what_stops_it_leaves_the_old_file(tmp_path, monkeypatch, stage):
    path = tmp_path / "x"
    files.write_text(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, stage, full)
    with pytest.raises(OSError, match="No space left"):
        files.write_text(path, "new")
    assert path.read_text() == "old"


def test_lines_and_arrays_come_back(tmp_path):
    files.write_json_lines(tmp_path / "rows", [{"a": 1}, {"b": None}])
    assert (tmp_path / "rows").read_text() == '{"a": 1}\n{"b": null}\n'
    files.write_numpy(tmp_path / "x.npz", np.savez, x=np.arange(3))
    np.testing.assert_array_equal(np.load(tmp_path / "x.npz")["x"], [0, 1, 2])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows", "x.npz"]
