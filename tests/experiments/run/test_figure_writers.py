"""TensorBoard and Weights & Biases take the rows that they are asked to; what fails in them ends nothing."""

import math
import pathlib
import struct
import subprocess
import sys
import types

import ml_collections
import pytest

from experiments.run import figure_writers
from experiments.run.directory import Run
from experiments.run.metrics_log import read_metrics


def config(**log):
    return ml_collections.ConfigDict({"seed": 3, "log": {"tensorboard": False, "wandb": ""} | log})


def write(run):
    """A stage that is stopped after step 3 and goes on from step 2, and an arm."""
    run.log.truncate(stage="world_model", step=0)
    for step in (1, 2, 3):
        run.log.write(stage="world_model", step=step, loss=step / 2)
    run.log.truncate(stage="world_model", step=2)
    run.log.write(stage="world_model", step=3, loss=math.nan)
    run.log.write(stage="phase2", arm="prowl", step=1, kl_to_reference=0.25)


ROWS = [("world_model", None, 1), ("world_model", None, 2), ("world_model", None, 3), ("phase2", "prowl", 1)]


def places(workdir):
    return [(row["stage"], row["arm"], row["step"]) for row in read_metrics(workdir)]


def test_nothing_is_imported_that_is_not_asked_for(tmp_path):
    code = (
        "import sys, ml_collections\n"
        "from experiments.run.directory import Run\n"
        "log = {'tensorboard': False, 'wandb': ''}\n"
        "run = Run(sys.argv[1], ml_collections.ConfigDict({'log': log}))\n"
        "run.log.write(stage='a', step=1)\n"
        "print({'tensorboardX', 'wandb'} & set(sys.modules))\n"
    )
    root = pathlib.Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
    assert not (tmp_path / "tensorboard").exists()


def events(folder):
    """The events of a TensorBoard folder, by the format: records of length, its sum, the event, and its sum."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    for path in sorted(folder.iterdir()):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            yield event_pb2.Event.FromString(content[at + 12 : at + 12 + length])
            at += 12 + length + 4


def test_tensorboard_has_every_row_as_soon_as_it_is_written(tmp_path):
    pytest.importorskip("tensorboardX")
    run = Run(tmp_path, config(tensorboard=True))
    write(run)
    seen = list(events(tmp_path / "tensorboard/world_model"))
    assert seen[0].file_version == "brain.Event:2"  # by which TensorBoard honours a session's start
    assert [e.step for e in seen[1:]] == [1, 2, 3, 3, 3]
    restart = seen[4]
    assert restart.session_log.status == restart.session_log.START and not restart.summary.value
    told = [(v.tag, v.simple_value) for e in seen for v in e.summary.value]
    assert told[:3] == [("loss", 0.5), ("loss", 1.0), ("loss", 1.5)] and math.isnan(told[3][1])
    times = [row["wall_time"] for row in read_metrics(tmp_path, wall_time=True) if row["stage"] == "world_model"]
    assert [seen[1].wall_time, seen[2].wall_time, seen[5].wall_time] == times
    (arm,) = [e for e in events(tmp_path / "tensorboard/phase2/prowl") if e.summary.value]
    assert (arm.step, arm.summary.value[0].tag, arm.summary.value[0].simple_value) == (1, "kl_to_reference", 0.25)
    assert places(tmp_path) == ROWS
    Run(tmp_path, config(tensorboard=True)).log.write(stage="world_model", step=4, loss=0.0)
    assert [e.step for e in events(tmp_path / "tensorboard/world_model") if e.summary.value] == [1, 2, 3, 3, 4]


class FakeWandb(types.ModuleType):
    """As much of wandb as is used; ``fails`` names what raises."""

    def __init__(self, fails=()):
        super().__init__("wandb")
        self.fails, self.asked, self.rows, self.axes = fails, [], [], {}

    def init(self, **options):
        self.asked.append(options)
        if "init" in self.fails:
            raise RuntimeError("no login\nand more")
        return self

    def define_metric(self, name, step_metric):
        self.axes[name] = step_metric

    def log(self, row):
        if "log" in self.fails:
            raise OSError("the network is down")
        self.rows.append(row)


@pytest.fixture
def wandb(monkeypatch):
    def put(**options):
        monkeypatch.setitem(sys.modules, "wandb", FakeWandb(**options))
        return sys.modules["wandb"]

    return put


def test_wandb_has_one_run_for_a_directory_and_charts_by_stage(tmp_path, wandb):
    fake = wandb()
    write(Run(tmp_path / "mine", config(wandb="project")))
    (asked,) = fake.asked
    assert (asked["project"], asked["name"], asked["resume"]) == ("project", "mine", "allow")
    assert asked["config"]["config"]["seed"] == 3 and asked["config"]["starts"][0]["versions"]["jax"]
    assert fake.rows[0] == {"world_model/loss": 0.5, "world_model/step": 1}
    assert math.isnan(fake.rows[3]["world_model/loss"])
    assert fake.rows[4] == {"phase2/prowl/kl_to_reference": 0.25, "phase2/prowl/step": 1}
    assert fake.axes == {"world_model/*": "world_model/step", "phase2/prowl/*": "phase2/prowl/step"}
    Run(tmp_path / "mine", config(wandb="project")).log.write(stage="world_model", step=4)
    Run(tmp_path / "other", config(wandb="project")).log.write(stage="world_model", step=1)
    assert fake.asked[1]["id"] == asked["id"] != fake.asked[2]["id"]


@pytest.mark.parametrize("fails, words", [("init", "RuntimeError: no login and more"), ("log", "OSError: the network")])
def test_a_failing_logger_is_told_once_and_ends_nothing(tmp_path, wandb, capsys, fails, words):
    fake = wandb(fails=(fails,))
    write(Run(tmp_path, config(wandb="project", tensorboard=True)))
    assert places(tmp_path) == ROWS and len(fake.asked) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: wandb: {words}") and line.endswith("; metrics.jsonl goes on alone")


def test_an_interrupt_in_a_logger_is_one(tmp_path, wandb, monkeypatch):
    fake = wandb()

    def interrupted(row):
        raise KeyboardInterrupt

    monkeypatch.setattr(fake, "log", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(Run(tmp_path, config(wandb="project")))


def test_a_reader_opens_nothing(tmp_path, wandb):
    fake = wandb()
    Run(tmp_path, config(wandb="project")).log.write(stage="a", step=1)
    reader = Run(tmp_path, config(wandb="project"), owned=False)
    reader.log.write(stage="a", step=2)
    reader.log.truncate(stage="a", step=0)
    assert len(fake.asked) == 1 and [row["step"] for row in read_metrics(tmp_path)] == [1]


def test_where_figures_are_shown_may_change(tmp_path):
    Run(tmp_path, ml_collections.ConfigDict({"seed": 3}))  # older than these settings
    Run(tmp_path, config(tensorboard=True))


def test_a_package_is_found_where_it_can_be_imported(monkeypatch):
    assert figure_writers.installed("numpy") and not figure_writers.installed("no_such_package_here")
