"""Every mistake on the command line is one line with its cure, exit code 2, and nothing written."""

import pathlib
import subprocess
import sys

import pytest

from experiments.run import command_line

CONFIG = '''
from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

def get_config(size="small"):
    """A small run of one minute.

    Command: as in the test.
    """
    if size not in ("small", "big"):
        raise ValueError(f"unknown size {size!r}; there are small and big")
    return ConfigDict(dict(
        seed=0, name="x", size=size,
        world_model=dict(steps=1500, ema=True, shape=(64, 64), betas=(0.9, 0.99), names=["a"]),
        ppo=dict(learning_rate=1e-3, limit=placeholder(int), nothing=None),
    ))
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "quick.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parse(*argv):
    return command_line.parse(argv, program="prog")


def mistake(capsys, *argv):
    """The one line that a mistaken command line is answered with."""
    before = sorted(pathlib.Path.cwd().rglob("*"))
    with pytest.raises(SystemExit) as exit:
        parse(*argv)
    output = capsys.readouterr()
    assert exit.value.code == 2
    assert output.out == ""
    assert output.err.count("\n") == 1 and output.err.endswith("\n")
    assert "Traceback" not in output.err
    assert sorted(pathlib.Path.cwd().rglob("*")) == before
    return output.err.strip()


def test_values_arrive_with_their_types(folder):
    config, workdir = parse(
        "--config=quick.py:big",
        "--config.world_model.steps=7",
        "--config.ppo.learning_rate",
        "3",
        "--noconfig.world_model.ema",
        "--config.world_model.shape=(32, 16)",
        "--config.ppo.limit=4",
        "--config.name=y z",
        "--workdir=runs/a",
    )
    assert config.size == "big" and config.name == "y z"
    assert config.world_model.steps == 7 and type(config.world_model.steps) is int
    assert config.ppo.learning_rate == 3.0 and type(config.ppo.learning_rate) is float
    assert config.world_model.ema is False
    assert config.world_model.shape == (32, 16)
    assert config.ppo.limit == 4
    assert config.is_locked and config.world_model.is_locked
    assert workdir == pathlib.Path("runs/a") and not workdir.exists()


def test_parsing_again_remembers_nothing_and_order_is_free(folder):
    assert parse("--config.seed=3", "--config=quick.py")[0].seed == 3
    config, workdir = parse("--config=quick.py")
    assert config.seed == 0 and workdir is None


@pytest.mark.parametrize(
    "arguments, said",
    [
        (
            ["--config.world_model.stepz=3"],
            "no config key 'world_model.stepz'; did you mean 'world_model.steps'?",
        ),
        (["--config.stepz=3"], "no config key 'stepz'; did you mean 'world_model.steps'?"),
        (["--config.steps", "3"], "did you mean 'world_model.steps'?"),
        (["--config.qqqq=3"], "no config key 'qqqq'; --help with this --config lists the keys"),
        (["--config.world_model=3"], "'world_model' is a group; set one of its values"),
        (
            ["--config.world_model.steps=abc"],
            "'world_model.steps' takes a whole number (it is 1500), not 'abc'",
        ),
        (["--config.world_model.steps=1e5"], "not '1e5'; write 100000"),
        (["--config.world_model.steps=1.5"], "takes a whole number (it is 1500), not '1.5'"),
        (["--config.ppo.limit=a"], "'ppo.limit' takes a whole number"),
        (["--config.ppo.learning_rate=fast"], "takes a number (it is 0.001), not 'fast'"),
        (["--config.world_model.ema=7"], "takes true or false (it is True), not '7'"),
        (["--config.world_model.shape=(1.5, 2)"], "takes a tuple such as '(64, 64)'"),
        (["--config.world_model.shape=big"], "takes a tuple such as '(64, 64)'"),
        (
            ["--config.world_model.names=b"],
            "holds list, which a command line cannot set; edit the config file",
        ),
        (["--config.ppo.nothing=b"], "holds NoneType, which a command line cannot set"),
        (["--noconfig.seed"], "'seed' takes a whole number; write --config.seed=VALUE"),
        (["--config.seed"], "--config.seed has no value; write --config.seed=VALUE"),
        (["lr=3"], "'lr=3' is not a flag; did you mean --config.ppo.learning_rate=3?"),
        (["learning_rat=3"], "did you mean --config.ppo.learning_rate=3?"),
        (["ppo.learning_rate=3"], "did you mean --config.ppo.learning_rate=3?"),
        (["train"], "'train' is not a flag; write --config.KEY=VALUE"),
        (["--wrkdir=a"], "no flag --wrkdir; did you mean --workdir?"),
        (
            ["--world_model.steps=3"],
            "no flag --world_model.steps; did you mean --config.world_model.steps=VALUE?",
        ),
        (["--conf.seed=3"], "no flag --conf.seed; did you mean --config.seed=VALUE?"),
        (["--xyzzy"], "no flag --xyzzy; there are --config, --config.KEY, --workdir and --help"),
        (["--flagfile=a"], "no flag --flagfile"),
        (["--workdir=quick.py"], "--workdir=quick.py is a file; name a folder"),
        (["--workdir=quick.py/run"], "lies under 'quick.py', which is a file"),
        (["--workdir="], "--workdir is empty"),
        (["--config=quick.py"], "--config is given more than once"),
    ],
)
def test_a_mistake_beside_a_good_config(folder, capsys, arguments, said):
    assert said in mistake(capsys, "--config=quick.py", *arguments)


@pytest.mark.parametrize(
    "argument, said",
    [
        ("--config=quik.py", "no config file 'quik.py'; did you mean 'quick.py'?"),
        ("--config=quick", "did you mean 'quick.py'?"),
        ("--config=.", "--config=. is a folder; name a file in it: quick.py"),
        ("--config=", "--config is empty; write --config=FILE"),
        ("--config", "--config has no value; write --config=VALUE"),
        ("--config=quick.py:huge", "line 11: ValueError: unknown size 'huge'; there are small and big"),
        ("--config.seed=3", "no --config given; write --config=FILE"),
        ("--confg=quick.py", "no flag --confg; did you mean --config?"),
        ("lr=3", "no --config given; write --config=FILE"),
    ],
)
def test_a_mistake_in_naming_the_config(folder, capsys, argument, said):
    assert said in mistake(capsys, argument)


@pytest.mark.parametrize(
    "source, said",
    [
        ("x = 1\n", "bad.py has no function get_config()"),
        ("def get_config():\n    return 1\n", "returned int; it must return a ConfigDict"),
        ("def get_config():\n    pass\n", "returned NoneType"),
        ("import os\nx = 1 +\n", "bad.py, line 2: SyntaxError: invalid syntax"),
        ("def get_config():\n\n    return undefined\n", "bad.py, line 3: NameError: name 'undefined'"),
        ("import no_such_module\n", "bad.py, line 1: ModuleNotFoundError"),
        ("def get_config():\n    raise ValueError('a\\nb')\n", "bad.py, line 2: ValueError: a b"),
        ("def get_config(size):\n    pass\n", "bad.py needs an argument; write --config=bad.py:ARG"),
    ],
)
def test_a_mistake_inside_the_config(folder, capsys, source, said):
    (folder / "bad.py").write_text(source)
    assert said in mistake(capsys, "--config=bad.py")


def test_an_argument_that_get_config_does_not_take(folder, capsys):
    (folder / "plain.py").write_text("def get_config():\n    pass\n")
    assert "takes no argument; write --config=plain.py" in mistake(capsys, "--config=plain.py:a")


def test_help_names_flags_then_keys(folder, capsys):
    with pytest.raises(SystemExit) as exit:
        parse("--help")
    assert exit.value.code == 0
    assert "usage: prog --config=FILE" in capsys.readouterr().out
    with pytest.raises(SystemExit) as exit:
        parse("--config=quick.py", "--help")
    output = capsys.readouterr().out
    assert exit.value.code == 0
    assert "A small run of one minute." in output
    assert "--config.world_model.steps=1500" in output


def test_validate_prints_every_broken_rule(folder, capsys):
    config, _ = parse("--config=quick.py")
    rules = [
        (lambda c: c.world_model.steps > 0, "never"),
        (
            lambda c: c.world_model.steps < 10,
            "'world_model.steps' is {config.world_model.steps}, not under 10",
        ),
        (lambda c: c.name == "y", "'name' is {config.name},\nnot y"),
    ]
    command_line.validate(config, rules[:1])
    assert capsys.readouterr().err == ""
    with pytest.raises(SystemExit) as exit:
        command_line.validate(config, rules)
    assert exit.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: 'world_model.steps' is 1500, not under 10",
        "error: 'name' is x, not y",
    ]


def test_in_a_process_of_its_own_without_jax(folder):
    program = (
        "import sys\nfrom experiments.run.command_line import parse\n"
        "assert 'jax' not in sys.modules\nparse(sys.argv[1:], program='prog')"
    )
    root = pathlib.Path(command_line.__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", program, "--config=quick.py", "lr=3"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
    )
    assert result.returncode == 2
    assert result.stderr == "error: 'lr=3' is not a flag; did you mean --config.ppo.learning_rate=3?\n"
    assert [p.name for p in folder.iterdir()] == ["quick.py"]


@pytest.mark.parametrize(
    "argv, lines",
    [
        (
            ("--config.sead=1", "--config.world_model.step=2", "--config.seed=x"),
            ["no config key 'sead'; did you mean 'seed'", "no config key 'world_model.step'; did you mean"],
        ),
        (
            ("--config.seed=x", "--config.ppo.learning_rate=fast", "--config.world_model.shape=('a',)"),
            ["'seed' takes a whole number", "'ppo.learning_rate' takes a number", "'world_model.shape' takes a tuple"],
        ),
    ],
)
def test_all_mistakes_of_a_kind_are_told_at_once(folder, capsys, argv, lines):
    with pytest.raises(SystemExit) as exit:
        parse("--config=quick.py", *argv)
    said = capsys.readouterr().err.splitlines()
    assert exit.value.code == 2 and len(said) == len(lines)
    for line, words in zip(said, lines, strict=True):
        assert line.startswith("error: ") and words in line


@pytest.mark.parametrize(
    "argv, taken",
    [
        (["--stages=report", "--config=x"], (("report",), ["--config=x"])),
        (["a", "--stages=evaluation,report,evaluation"], (("evaluation", "report"), ["a"])),
        (["--stage=report"], ((), ["--stage=report"])),
    ],
)
def test_names_are_taken_from_a_flag(argv, taken):
    assert command_line.take_names(argv, "stages", ("evaluation", "report")) == taken


@pytest.mark.parametrize(
    "flag, said",
    [
        ("--stages=", "takes evaluation, report with commas between them, not ''"),
        ("--stages", "not ''"),
        ("--stages=evaluatoin", "not 'evaluatoin'; did you mean evaluation?"),
        ("--stages=report,world_model", "not 'world_model'"),
    ],
)
def test_other_names_are_one_line(flag, said, capsys):
    with pytest.raises(SystemExit) as exit:
        command_line.take_names([flag], "stages", ("evaluation", "report"))
    error = capsys.readouterr().err
    assert exit.value.code == 2 and said in error and error.count("\n") == 1
