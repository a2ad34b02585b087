"""LPIPS' published names to the one file that a run reads, and every way in which a file may not be it."""

import re

import jax
import mistakes
import numpy as np
import pytest

from experiments import convert as command
from experiments.configs.quickstart import get_config
from experiments.run.config_file import UsageError
from experiments.stages import build
from prowl_jax.models.published import lpips_weights as weights
from prowl_jax.models.published import torch_layout

pytest.importorskip("safetensors")
NUMBERS = {"alexnet": [0, 3, 6, 8, 10], "vgg16": [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]}
STAGES = {"alexnet": [0, 1, 2, 3, 4], "vgg16": [1, 3, 6, 9, 12]}  # the convolution that each head reads


def random_arrays(name):
    """A narrow network under torchvision's names, with a classifier, and its heads."""
    rng, trunk, channels, widths = np.random.default_rng(0), {}, 3, []
    for i, number in enumerate(NUMBERS[name]):
        side, width = ({0: 11, 1: 5}.get(i, 3) if name == "alexnet" else 3), 2 + i
        trunk[f"features.{number}.weight"] = rng.normal(size=(width, channels, side, side)).astype(np.float32)
        trunk[f"features.{number}.bias"] = rng.normal(size=width).astype(np.float32)
        channels = width
        widths.append(width)
    trunk["classifier.1.weight"] = np.zeros((2, 2), np.float32)
    heads = {
        f"lin{k}.model.1.weight": rng.uniform(size=(1, widths[i], 1, 1)).astype(np.float32)
        for k, i in enumerate(STAGES[name])
    }
    return trunk, heads


def convert(capsys, **flags):
    code = command.main(["lpips", *(f"--{name}={value}" for name, value in flags.items())])
    return code, capsys.readouterr().out


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_what_is_converted_is_what_is_loaded(tmp_path, capsys, name, kind):
    trunk, heads = random_arrays(name)
    files = {"trunk": tmp_path / f"trunk.{kind}", "heads": tmp_path / f"heads.{kind}"}
    for path, arrays in zip(files.values(), (trunk, heads), strict=True):
        if kind == "pth":
            torch = pytest.importorskip("torch", reason="torch reads the published .pth; it is not installed")
            torch.save({k: torch.from_numpy(v) for k, v in arrays.items()}, path)
        else:
            torch_layout.save(path, arrays, {})
    code, out = convert(capsys, **files, output=tmp_path / "new")
    assert code == 0 and re.fullmatch(rf"wrote \S+/new/lpips_{name}.safetensors: 0.0 M numbers\n", out)
    found, params = weights.load_lpips(tmp_path / "new" / f"lpips_{name}.safetensors")
    assert found.name == name and len(params["convs"]) == len(NUMBERS[name])
    for number, layer in zip(NUMBERS[name], params["convs"], strict=True):
        np.testing.assert_array_equal(layer["kernel"].transpose(3, 2, 0, 1), trunk[f"features.{number}.weight"])
        np.testing.assert_array_equal(layer["bias"], trunk[f"features.{number}.bias"])
    for k, head in enumerate(params["heads"]):
        np.testing.assert_array_equal(head, heads[f"lin{k}.model.1.weight"].ravel())


def test_a_saved_lpips_module_is_read_as_well():
    trunk, heads = random_arrays("alexnet")
    slices = dict(zip(NUMBERS["alexnet"], range(1, 6), strict=True))

    def inside(name):
        return re.sub(r"features\.(\d+)", lambda m: f"net.slice{slices[int(m[1])]}.{m[1]}", name)

    whole = {inside(name): array for name, array in trunk.items()}
    whole |= heads | {k.replace("lin", "lins."): v for k, v in heads.items()}
    whole["scaling_layer.shift"] = np.zeros((1, 3, 1, 1), np.float32)
    cleaned = weights.clean(whole)
    expected = weights.clean(trunk | heads)
    assert cleaned.keys() == expected.keys() and "classifier.1.weight" not in cleaned
    jax.tree.map(np.testing.assert_array_equal, weights.from_published(cleaned), weights.from_published(expected))


def test_a_file_that_is_not_lpips_is_refused():
    arrays = weights.clean({name: array for part in random_arrays("vgg16") for name, array in part.items()})

    def refused(changed, words):
        with pytest.raises(ValueError, match=words) as told:
            weights.from_published(changed)
        assert "\n" not in str(told.value)

    refused({k: v for k, v in arrays.items() if "features.0." not in k}, "these are not the weights of LPIPS")
    refused({k: v for k, v in arrays.items() if k != "features.28.bias"}, "features.28.bias is missing")
    refused({k: v for k, v in arrays.items() if "lin" not in k}, "lin0.model.1.weight is missing")
    refused(arrays | {"lin2.model.1.weight": -arrays["lin2.model.1.weight"]}, "lin2.* below 0 .*: no head of LPIPS")
    refused(arrays | {"lin2.model.1.weight": np.nan * arrays["lin2.model.1.weight"]}, "no head of LPIPS")
    refused(arrays | {"features.30.bias": np.zeros(3)}, "features.30.bias has no place")


def mistake(capsys, **flags):
    return mistakes.answer(capsys, command.main, "lpips", *(f"--{name}={value}" for name, value in flags.items()))


def test_mistakes_are_one_line_and_nothing_is_written(tmp_path, capsys):
    trunk, heads, out = tmp_path / "trunk.safetensors", tmp_path / "heads.safetensors", tmp_path / "out"
    for path, arrays in zip((trunk, heads), random_arrays("alexnet"), strict=True):
        torch_layout.save(path, arrays, {})
    assert "--heads" in mistake(capsys, trunk=trunk, output=out)
    assert "--trunk=" in mistake(capsys, trunk=tmp_path / "no", heads=heads, output=out)
    other = tmp_path / "vgg.safetensors"
    torch_layout.save(other, random_arrays("vgg16")[1], {})
    assert "lin2.model.1.weight has shape" in mistake(capsys, trunk=trunk, heads=other, output=out)
    heads.write_text("<html>not found</html>")
    assert "is not a whole safetensors file" in mistake(capsys, trunk=trunk, heads=heads, output=out)
    assert not out.exists()
    torch_layout.save(heads, random_arrays("alexnet")[1], {})
    out.mkdir()
    (out / "lpips_alexnet.safetensors").write_text("precious")
    assert "exists already" in mistake(capsys, trunk=trunk, heads=heads, output=out)


def test_a_run_without_its_weights_or_with_small_frames_says_so(tmp_path):
    config = get_config("tiny")
    config.metrics.lpips_weights = str(tmp_path / "lpips_alexnet.safetensors")
    with pytest.raises(UsageError, match="no LPIPS weights at .*: download .*, then run python -m exp") as told:
        build.check_files(config)
    assert "\n" not in str(told.value)
    trunk, heads = random_arrays("alexnet")
    weights.save(config.metrics.lpips_weights, weights.clean(trunk | heads))
    build.check_files(config)
    assert build.load_lpips(config)[0].name == "alexnet"
    config.env.frame_height = 16
    with pytest.raises(UsageError, match="alexnet needs pictures of at least 31 pixels a side, not 16x64"):
        build.check_files(config)
