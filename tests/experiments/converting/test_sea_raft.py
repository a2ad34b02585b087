"""SEA-RAFT's published files to the one that a run reads, and the run's flow from it."""

import re

import jax
import jax.numpy as jnp
import mistakes
import numpy as np
import pytest

from experiments import convert as command
from experiments.configs.quickstart import get_config
from experiments.run.config_file import UsageError
from experiments.stages import build
from experiments.torture import odd_weights
from prowl_jax.metrics.optical_flow import small_flow
from prowl_jax.models.flow.sea_raft import SeaRaft, SeaRaftNetwork
from prowl_jax.models.published import sea_raft_weights as weights
from prowl_jax.models.published import torch_layout

pytest.importorskip("safetensors")
TINY = SeaRaft(SeaRaftNetwork(stem=4, widths=(4, 6, 8), blocks=(2, 2, 2), features=8))
PARAMS = jax.tree.map(
    lambda x: np.random.default_rng(x.size).normal(size=x.shape).astype(np.float32),
    jax.eval_shape(TINY.init, jax.random.key(0)),
)
ARRAYS = weights.to_published(PARAMS)


def convert(capsys, **flags):
    code = command.main(["sea_raft", *(f"--{name}={value}" for name, value in flags.items())])
    return code, capsys.readouterr().out


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_what_is_converted_is_what_is_loaded(tmp_path, capsys, kind):
    path = tmp_path / f"model.{kind}"
    doubled = ARRAYS | {k.replace(".bn3.", ".downsample.1."): v for k, v in ARRAYS.items()}
    if kind == "pth":
        torch = pytest.importorskip("torch", reason="torch reads the published .pth; it is not installed")
        torch.save({k: torch.from_numpy(np.array(v)) for k, v in doubled.items()}, path)
    else:
        torch_layout.save(path, doubled, {})
    code, out = convert(capsys, size="S", weights=path, output=tmp_path / "new")
    assert code == 0 and re.fullmatch(r"wrote \S+/new/sea_raft_S.safetensors: 0.0 M numbers, 4 iterations\n", out)
    model, params = weights.load_sea_raft(tmp_path / "new" / "sea_raft_S.safetensors")
    assert model == TINY
    jax.tree.map(np.testing.assert_array_equal, params, PARAMS)


def mistake(capsys, **flags):
    return mistakes.answer(capsys, command.main, "sea_raft", *(f"--{name}={value}" for name, value in flags.items()))


def test_mistakes_are_one_line_and_nothing_is_written(tmp_path, capsys):
    path, out = tmp_path / "model.safetensors", tmp_path / "out"
    torch_layout.save(path, ARRAYS, {})
    assert "--size" in mistake(capsys, weights=path, output=out)
    assert "no such file; the README of princeton-vl" in mistake(capsys, size="S", weights=tmp_path / "no", output=out)
    assert "blocks (2, 2, 2), SEA-RAFT M has (3, 4, 6)" in mistake(capsys, size="M", weights=path, output=out)
    torch_layout.save(path, {k: v for k, v in ARRAYS.items() if k != "init_conv.weight"}, {})
    assert "init_conv.weight is missing" in mistake(capsys, size="S", weights=path, output=out)
    path.write_text("<html>not found</html>")
    assert "is not a whole safetensors file" in mistake(capsys, size="S", weights=path, output=out)
    assert not out.exists()
    torch_layout.save(path, ARRAYS, {})
    out.mkdir()
    (out / "sea_raft_S.safetensors").write_text("precious")
    assert "exists already" in mistake(capsys, size="S", weights=path, output=out)


def test_narrow_types_are_converted_and_whole_numbers_refused(tmp_path, capsys):
    path = tmp_path / "model.safetensors"
    path.write_bytes(odd_weights.content(ARRAYS, dict.fromkeys(ARRAYS, "F8_E4M3")))
    assert convert(capsys, size="S", weights=path, output=tmp_path / "new")[0] == 0
    _, params = weights.load_sea_raft(tmp_path / "new" / "sea_raft_S.safetensors")
    leaf = params["fnet"]["conv1"]["kernel"]
    np.testing.assert_array_equal(leaf, PARAMS["fnet"]["conv1"]["kernel"].astype("float8_e4m3fn"))
    path.write_bytes(odd_weights.content(ARRAYS, dict.fromkeys(ARRAYS, "I8")))
    assert "quantised" in mistake(capsys, size="S", weights=path, output=tmp_path / "other")
    path.write_bytes(odd_weights.content(ARRAYS)[:500])
    assert "download it again" in mistake(capsys, size="S", weights=path, output=tmp_path / "other")


@pytest.fixture
def config(tmp_path):
    config = get_config("tiny")
    config.metrics.update(flow="sea_raft", flow_weights=str(tmp_path / "flow.safetensors"))
    return config


def test_without_its_weights_a_run_says_where_to_get_them(config):
    with pytest.raises(UsageError, match="no SEA-RAFT weights at .*: download .*, then run python -m") as told:
        build.check_files(config)
    assert "\n" not in str(told.value)


def test_a_converted_file_says_its_iterations(config):
    torch_layout.save(config.metrics.flow_weights, ARRAYS, {})
    with pytest.raises(UsageError, match="how many iterations to run is not written in it"):
        build.check_files(config)


def test_the_flow_of_a_run_has_its_weights_beside_the_world_models(config):
    assert build.make_flow(get_config("tiny")) is small_flow and build.flow_params(get_config("tiny")) == {}
    weights.save(config.metrics.flow_weights, ARRAYS, iterations=4)
    build.check_files(config)
    params = build.flow_params(config)
    jax.tree.map(np.testing.assert_array_equal, params["flow"], PARAMS)
    frames = jax.ShapeDtypeStruct((2, 3, 48, 64, 3), jnp.float32)
    assert jax.eval_shape(build.make_flow(config), params, frames, frames).shape == (2, 3, 48, 64, 2)
