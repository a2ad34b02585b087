"""The attacks of ``python -m experiments.torture``, a few of each, and that they can find something."""

import pytest

from experiments.torture import __main__ as torture
from experiments.torture import attacks
from prowl_jax.data import store
from prowl_jax.train import checkpoint


@pytest.mark.parametrize("name, arguments", [("files", (1, 6)), ("workers", (1, 2)), ("configs", (1, 150)), ("training", (1,))])
def test_nothing_is_lost(name, arguments):
    count, lost = attacks.ATTACKS[name](*arguments)
    assert count > 0 and lost == []


def test_without_checksums_something_would_be(monkeypatch):
    monkeypatch.setattr(checkpoint, "_checksums", lambda arrays: dict.fromkeys(arrays))
    monkeypatch.setattr(store, "_crc", lambda path: "same")
    assert attacks.files(2, 15)[1]


def test_the_last_line_counts_and_the_code_tells(monkeypatch, capsys):
    monkeypatch.setitem(attacks.ATTACKS, "files", lambda seed: (4, ["cut x: it reads otherwise"] if seed == 0 else []))
    monkeypatch.setitem(attacks.ATTACKS, "workers", lambda seed: (3, []))
    assert torture.main(["--minutes=0", "--attacks", "files", "workers"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert "LOST files, --seed=0: cut x: it reads otherwise" in out
    assert out[-2:] == ["files 4  workers 3", "lost: 1"]
    assert torture.main(["--minutes=0", "--attacks", "workers"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "lost: 0"
