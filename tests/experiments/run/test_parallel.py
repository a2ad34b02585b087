"""Pieces of work in processes of their own: shares of the cores, marked lines, failures, and how they end."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.run import parallel

ROOT = pathlib.Path(__file__).parents[3]


@given(st.lists(st.integers(0, 500), min_size=1, unique=True), st.data())
def test_shares_hold_every_core_once_and_are_nearly_equal(cores, data):
    parts = parallel.shares(cores, data.draw(st.integers(1, len(cores))))
    assert sum(parts, []) == cores
    assert max(map(len, parts)) - min(map(len, parts)) <= 1 and min(map(len, parts)) >= 1


def say(argument):
    """Which cores it has, on both streams; ``argument`` is its exit code."""
    print("cores", len(os.sched_getaffinity(0)))
    print("code", argument, file=sys.stderr)
    return argument


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be shared out here")
def test_every_piece_is_done_marked_and_failures_are_named(capfd):
    number = min(2, len(parallel.cores()))
    assert parallel.run(say, {"one": 0, "two": 3, "three": 0}, number) == {"two": 3}
    out, err = capfd.readouterr()
    each = {len(part) for part in parallel.shares(parallel.cores(), number)}
    assert sorted(line.split(" | ")[0] for line in out.splitlines()) == ["one", "three", "two"]
    assert {int(line.rsplit(" ", 1)[1]) for line in out.splitlines()} <= each
    assert sorted(err.splitlines()) == ["one | code 0", "three | code 0", "two | code 3"]


PROGRAM = textwrap.dedent("""
    import sys, time
    from experiments.run import parallel, interruption

    def wait(path):
        interruption.listen()
        with interruption.after_the_step():
            print("begun", flush=True)
            for _ in range(600):
                time.sleep(0.05)
                if interruption.asked():
                    break
            time.sleep(1.0)
            open(path, "w").write("the step is done")
        return 0

    if __name__ == "__main__":
        interruption.listen()
        try:
            parallel.run(wait, {"piece": sys.argv[1]}, 1)
        except interruption.Terminated:
            print("terminated")
        except KeyboardInterrupt:
            print("interrupted")
""")


@pytest.mark.parametrize(
    ("sent", "said", "finishes"),
    [(signal.SIGTERM, "terminated", True), (signal.SIGINT, "interrupted", False)],
)
def test_told_to_end_it_ends_its_processes(tmp_path, sent, said, finishes):
    """SIGTERM lets them finish their step; Ctrl-C, which a terminal sends to the whole group, does not."""
    program, note = tmp_path / "program.py", tmp_path / "note"
    program.write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, str(program), str(note)], stdout=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stdout.readline() == "piece | begun\n"
    group = os.getpgid(process.pid)
    if sent == signal.SIGINT:
        os.killpg(group, sent)
    else:
        process.send_signal(sent)
    assert process.communicate(timeout=60)[0].splitlines()[-1] == said
    assert note.exists() == finishes
    deadline = time.monotonic() + 10
    while _alive(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(group), "a process is left"


def _alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
