"""The attacks of ``python -m experiments.torture``, a few of each, and that they can find something."""

import json
import signal
import subprocess
import sys
import threading
import types
import zlib

import pytest

from experiments.torture import __main__ as torture
from experiments.torture import attacks, victims


@pytest.mark.parametrize(
    "name, arguments",
    [("files", (1, 6)), ("workers", (1, 2)), ("configs", (1, 150)), ("training", (1,)), ("inputs", (1, 60))],
)
def test_nothing_is_lost(name, arguments):
    count, lost = attacks.ATTACKS[name](*arguments)
    assert count > 0 and lost == []


def change_a_frame(folder, rng):
    """Of a store, which alone has frames; a checkpoint stays whole."""
    path = folder / "frames.bin"
    if path.exists():
        content = bytearray(path.read_bytes())
        content[5] ^= 1
        path.write_bytes(content)
    return "flip frames.bin"


def change_a_frame_and_its_checksum(folder, rng):
    """What no checksum can tell."""
    done = change_a_frame(folder, rng)
    if (folder / "index.json").exists():
        index = json.loads((folder / "index.json").read_text())
        index["checksums"]["frames"] = f"{zlib.crc32((folder / 'frames.bin').read_bytes()):08x}"
        (folder / "index.json").write_text(json.dumps(index))
    return done


def test_a_changed_frame_is_told_and_one_that_is_not_told_is_lost():
    assert attacks.files(2, 1, change_a_frame) == (2, [])
    assert attacks.files(2, 1, change_a_frame_and_its_checksum) == (
        2,
        ["flip frames.bin: it reads otherwise than it was written"],
    )


def test_two_runs_differ_by_their_figures_and_not_by_how_long_they_took(tmp_path):
    def run(name, regret, seconds):
        arms = {"prowl": {"in_distribution": {"regret": {"all": regret}, "psnr": float("nan"), "seconds": seconds}}}
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text("")
        (tmp_path / name / "evaluation.json").write_text(json.dumps({"arms": arms}))
        return tmp_path / name

    whole = run("whole", 0.5, 1.0)
    assert victims.differences(whole, run("slower", 0.5, 9.0)) == []
    line = "evaluation.json: 1 figures of the arms differ, prowl/in_distribution/regret/all"
    assert victims.differences(whole, run("other", 0.5000001, 1.0)) == [line]


def test_an_interrupt_ends_who_listens_before_his_file_is_closed(monkeypatch):
    faults = []
    monkeypatch.setattr(threading, "excepthook", faults.append)
    speaks = [sys.executable, "-c", "while True: print('x' * 10000)"]
    process = subprocess.Popen(speaks, stdout=subprocess.PIPE, text=True)

    def wait():
        process.stdout.read(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        victims.ended(process, signal.SIGTERM, wait)
    assert process.poll() is not None and faults == []


def test_the_last_line_counts_and_the_code_tells(monkeypatch, capsys):
    monkeypatch.setitem(attacks.ATTACKS, "files", lambda seed: (4, ["cut x: it reads otherwise"] if seed == 0 else []))
    monkeypatch.setitem(attacks.ATTACKS, "workers", lambda seed: (3, []))
    assert torture.main(["--minutes=0", "--attacks", "files", "workers"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert "LOST files, --seed=0: cut x: it reads otherwise" in out
    assert out[-2:] == ["files 4  workers 3", "lost: 1"]
    assert torture.main(["--minutes=0", "--attacks", "workers"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "lost: 0"


def test_a_save_is_seen_while_it_is_written(tmp_path):
    """The second new entry is waited for; what was there before does not count."""
    second_and_at_once = types.SimpleNamespace(choice=lambda numbers: 2, uniform=lambda low, high: 0.0)
    moments, polls = attacks.Moments(second_and_at_once), []
    monitored = types.SimpleNamespace(poll=lambda: polls.append(None) or begin(len(polls)))
    (tmp_path / "toy" / "5" / "state").mkdir(parents=True)

    def begin(poll):
        if poll in (3, 6):
            (tmp_path / "toy" / f"{poll + 10}.orbax-checkpoint-tmp").mkdir()

    moments.wait(monitored, tmp_path)
    assert moments.hits == 1 and len(polls) == 6


def test_every_attack_has_a_turn_and_later_ones_fit_the_time():
    """By hand: a takes 5 s and b takes 20 s, of 40."""
    now, order = [0.0], []
    for name, seed, place in torture.turns(("a", "b"), 7, 40, lambda: now[0]):
        order.append((name, seed, now[0]))
        said = place
        now[0] += {"a": 5, "b": 20}[name]
    assert order == [("a", 7, 0), ("b", 8, 5), ("a", 9, 25), ("a", 10, 30)]
    assert said == "0.5 min, 0.2 left"


def test_ctrl_c_prints_what_was_counted(monkeypatch, capsys):
    def interrupted(seed):
        raise KeyboardInterrupt

    monkeypatch.setitem(attacks.ATTACKS, "files", lambda seed: (4, []))
    monkeypatch.setitem(attacks.ATTACKS, "workers", interrupted)
    assert torture.main(["--minutes=1", "--attacks", "files", "workers"]) == 130
    assert capsys.readouterr().out.splitlines()[-2:] == ["files 4  workers 0", "lost: 0"]
