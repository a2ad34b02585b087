"""The line that every run begins with, and a run that is told to be quiet."""

import re

import pytest

import prowl_jax
from experiments.configs.quickstart import get_config
from experiments.run import opening
from experiments.run.directory import Run
from experiments.run.progress import Progress
from experiments.stages import pipeline
from experiments.study import ablation, grid


@pytest.fixture(autouse=True)
def audible(monkeypatch):
    monkeypatch.setattr(Progress, "muted", False)


class Enough(Exception):
    """What a run that is stopped behind its opening raises."""


def begin(monkeypatch, start, module):
    def stop(*arguments, **options):
        raise Enough

    config = get_config("tiny")
    config.update(seed=7, quiet=True)
    monkeypatch.setattr(module, "build", type("Build", (), {"__getattr__": lambda *_: lambda *_: None})())
    for name in ("Run", "open_runs", "variant_of"):
        monkeypatch.setattr(module, name, stop, raising=False)
    monkeypatch.setattr(module, "keep_freed_memory", lambda: None, raising=False)
    with config.unlocked():
        doses = {"trajectories": (), "bases": ()}
        config.study = {"seeds": (3, 4), "processes": 1, "side_by_side": 1, "dose": doses}
        config.ablation = {}
        config.arms = ()
    with pytest.raises(Enough):
        start(config)


@pytest.mark.parametrize("module", [pipeline, grid, ablation])
def test_every_run_says_first_what_it_is_and_heeds_quiet(tmp_path, monkeypatch, capsys, module):
    if module is ablation:
        monkeypatch.setattr(ablation, "read", lambda *_: None)
    run = {pipeline: pipeline.run_all, grid: grid.run_study, ablation: ablation.run_ablation}[module]
    begin(monkeypatch, lambda config: run(config, tmp_path), module)
    first = capsys.readouterr().out.splitlines()[0]
    seeds = "3, 4" if module is grid else "7"
    commit = r"(commit [0-9a-f]{12}(, changed)?|no commit)"
    said = rf"prowl_jax {re.escape(prowl_jax.__version__)} \({commit}\), python 3\S+, jax \S+, .*; seed {seeds}"
    assert re.fullmatch(said, first), first
    assert Progress.muted


def test_quiet_leaves_out_progress_and_nothing_else(tmp_path, capsys):
    config = get_config("tiny")
    run = Run(tmp_path / "run", config)

    def stage(_):
        with Progress("a stage", 2) as progress:
            progress.update(2)
        return {"loss": 0.5}

    for quiet in (True, False):
        config.quiet = quiet
        opening.set_quiet(config)
        Run(tmp_path / "run", config)  # the same run: how it is shown may change
        run.run_stage(f"stage{quiet}", stage)
        printed = capsys.readouterr()
        assert printed.out.startswith(f"stage{quiet}: loss 0.5") and ("a stage  2/2" in printed.err) != quiet
