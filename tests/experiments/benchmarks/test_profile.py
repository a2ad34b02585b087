"""A profile counts every moment of the main thread once, and calls each what it was."""

import json
import threading
import time

import jax
import jax.numpy as jnp
import pytest

from experiments import benchmark
from experiments.benchmarks import profile
from prowl_jax import spans


def product(a, b):
    return jnp.tanh(a @ b).sum()


@pytest.fixture(scope="module")
def watch():
    """Of a stage that waits, works and computes, of one that does nothing, and of what lies between them."""
    a = jnp.ones((64, 32))
    with profile.Watch() as watch:
        with spans.span(spans.STAGE, "first"):
            with spans.span("checkpoints"):
                time.sleep(0.2)
                with spans.span("checksums"):
                    time.sleep(0.1)
            assert list(spans.each("input", (time.sleep(0.05) or i for i in range(3)))) == [0, 1, 2]
            thread = threading.Thread(target=spans.span("environments")(time.sleep), args=(0.3,))
            thread.start()
            thread.join()
            step = spans.program(jax.jit(product))
            for _ in range(5):
                step(a, a.T)
            jax.jit(lambda x: step(x, x.T))(a)  # within another program: not a call
        time.sleep(0.15)
        with spans.span(spans.STAGE, "second"):
            pass
    return watch


def test_every_moment_counts_once_as_what_it_was(watch):
    found = profile.table(watch, rate=1e9)
    first, second, between = (found["stages"][name] for name in ("first", "second", profile.BETWEEN))
    assert 0.2 <= found["host"]["checkpoints"] < 0.29 and 0.1 <= found["host"]["checksums"] < 0.19
    assert first["host"] == pytest.approx(found["host"]["checkpoints"] + found["host"]["checksums"])
    assert 0.15 <= first["waiting"] < 0.29 and "environments" not in found["waiting"], "another thread's is its own"
    assert first["compiling"] > 0 and first["computing"] >= 0.3
    assert sum(found["compiling"].values()) == pytest.approx(sum(row["compiling"] for row in found["stages"].values()))
    assert second["seconds"] < 0.05 and 0.15 <= between["computing"] < 0.3
    parts = ("compiling", "computing", "waiting", "host", "counting")
    assert first["seconds"] == pytest.approx(sum(first[part] for part in parts))
    assert found["seconds"] == pytest.approx(sum(row["seconds"] for row in found["stages"].values()))


def test_what_programs_multiply_is_counted_by_the_call(watch):
    found = profile.table(watch, rate=1e6)["stages"]
    assert found["first"]["flops"] == 5 * 2 * 64 * 32 * 64
    assert found["first"]["of_rate"] == pytest.approx(found["first"]["flops"] / found["first"]["computing"] / 1e6)
    assert found["second"]["of_rate"] is None


def test_a_program_that_is_made_anew_is_seen():
    """The same function jitted twice is one for JAX; another function of the same text is another program."""
    x = jnp.ones((3, 5))

    def make():
        return jax.jit(lambda x: jnp.cos(x @ x.T) * 3.25)

    with profile.Watch() as watch:
        once = make()
        once(x)
        once(x)
        jax.jit(product)(x, x.T)
    assert watch.twice == [] and len(watch.programs) >= 2
    with profile.Watch() as watch:
        make()(x)
        make()(x)
    assert len(watch.twice) == 1, [program.name for program in watch.programs]


def test_nobody_is_told_afterwards_and_nothing_is_wrapped():
    function = jax.jit(product)
    assert spans.program(function) is function
    with profile.Watch() as watch:
        told = spans.program(function)
        assert told is not function and told.lower is not None
        with pytest.raises(RuntimeError, match="somebody listens"), spans.listen(watch):
            pass
    before = len(watch.programs), dict(watch.seconds), dict(watch.flops)
    told(jnp.ones((7, 2)), jnp.ones((2, 7)))
    assert (len(watch.programs), dict(watch.seconds), dict(watch.flops)) == before
    with pytest.raises(ValueError, match="no kind of stretch 'napping'"), spans.span("napping"):
        pass


def test_equal_arguments_give_one_program():
    made = []

    @spans.kept
    def make(size, of=None):
        made.append(size)
        return spans.program(jax.jit(lambda x: x + size))

    assert make(1) is make(1) and make(2) is not make(1) and make(1, of=3) is not make(1)
    assert make([1]) is not make([1]), "what cannot be hashed gets its own"
    before = len(made)
    with spans.listen(profile.Watch()):
        assert make(1) is make(1) and hasattr(make(1), "__wrapped__")
    assert len(made) == before + 1 and made.count(1) == 3


def test_lines_are_read_at_80_columns(watch):
    text = list(profile.lines(profile.table(watch, rate=2e11)))
    assert max(map(len, text)) <= 80 and text[0].startswith("stage, seconds")
    assert [line.split()[0] for line in text[1:5]] == ["first", "second", "between", "all"]
    assert any(line.startswith("host: checkpoints 0.2") for line in text)


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--workdir=x"], "--workdir is of --profile"),
        (["--config.seed=1"], "unrecognized arguments: --config.seed=1"),
        (["--profile=nowhere.py"], "nowhere.py"),
        (["--profile=experiments/configs/quickstart.py:tiny", "--config.world_model.stepps=3"], "world_model.steps"),
        (["--profile=experiments/configs/quickstart.py:tiny", "--config.dry_run=True"], "dry_run"),
        (["--profile=experiments/configs/quickstart.py:tiny", "--workdir={done}"], "holds a run"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(tmp_path, monkeypatch, capsys, flags, said):
    done = tmp_path / "done"
    done.mkdir()
    (done / "config.json").write_text(json.dumps({}))
    with pytest.raises(SystemExit) as stop:
        benchmark.main([flag.format(done=done) for flag in flags] + [f"--output={tmp_path / 'profile.json'}"])
    assert stop.value.code == 2 and said in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["done"]
