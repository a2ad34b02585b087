"""From OpenAI's two pickles to safetensors: what fits is converted, nothing hidden in them is run."""

import os
import pathlib
import pickle
import subprocess
import sys

import jax
import mistakes
import numpy as np
import pytest

from experiments import convert as command
from experiments.converting import vpt
from experiments.run.config_file import UsageError
from prowl_jax.models.policies.vpt_idm import IDMNetwork, VPTInverseDynamics
from prowl_jax.models.policies.vpt_policy import VPTNetwork, VPTPolicy
from prowl_jax.models.published import vpt_weights

POLICY = VPTPolicy(VPTNetwork((2, 3, 4), hidden=8, heads=2, blocks=2, kept=3, buttons=7, camera=5, image=16))
IDM = VPTInverseDynamics(IDMNetwork((2, 3, 4), hidden=8, heads=2, time_channels=5, bins=3, image=16))
rng = np.random.default_rng(0)
ARRAYS = {k: rng.normal(size=shape).astype(np.float32) for k, shape in vpt_weights.published_shapes(POLICY).items()}
ARGUMENTS = {
    "attention_heads": 2, "attention_mask_style": "clipped_causal", "attention_memory_size": 6, "timesteps": 3,
    "hidsize": 8, "impala_chans": [2, 3, 4], "impala_kwargs": {"post_pool_groups": 1}, "impala_width": 1,
    "init_norm_kwargs": {"batch_norm": False, "group_norm_groups": 1}, "n_recurrence_layers": 2,
    "pointwise_ratio": 4, "pointwise_use_activation": False, "recurrence_is_residual": True,
    "recurrence_type": "transformer", "use_pointwise_layer": True, "use_pre_lstm_ln": False,
}  # fmt: skip


class Trap:
    """Unpickled carelessly, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path(self.path),)


def model_file(path, temperature="2.0", **changed):
    args = {"net": {"args": ARGUMENTS | changed}, "pi_head_opts": {"temperature": temperature}}
    path.write_bytes(pickle.dumps({"model": {"args": args}}))
    return path


def reads_as(weights, monkeypatch):
    """Stands in for torch's part, so that everything else is tested without it."""
    monkeypatch.setattr(vpt, "read_weights", lambda path: dict(weights))


def files(folder):
    return sorted(p.name for p in folder.iterdir())


def test_what_is_converted_is_what_is_loaded(tmp_path, monkeypatch, capsys):
    pytest.importorskip("safetensors")
    reads_as(ARRAYS, monkeypatch)
    model = model_file(tmp_path / "tiny.model", temperature="3.5")
    out = tmp_path / "new" / "folder"
    assert command.main(["vpt", f"--model={model}", "--weights=tiny.weights", f"--output={out}"]) == 0
    assert files(out) == ["tiny.safetensors"]
    assert capsys.readouterr().out == f"wrote {out}/tiny.safetensors: a policy, 0.0 M numbers, temperature 3.5\n"
    policy, params = vpt_weights.load_policy(out / "tiny.safetensors")
    assert policy == VPTPolicy(POLICY.network.clone(temperature=3.5))
    jax.tree.map(np.testing.assert_array_equal, params, vpt_weights.from_published(POLICY, ARRAYS))


def test_further_heads_are_left_out_and_a_missing_value_head_is_zero(tmp_path, monkeypatch, capsys):
    pytest.importorskip("safetensors")
    without = {k: v for k, v in ARRAYS.items() if not k.startswith("value_head.")}
    reads_as(without | {"aux_head.weight": np.ones((2, 8), np.float32)}, monkeypatch)
    command.main(["vpt", "--temperature=2", "--weights=tiny.weights", f"--output={tmp_path}"])
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == [
        "left out, without a place in the network: aux_head.weight",
        "there is no value head: it starts at 0",
    ]
    _, params = vpt_weights.load_policy(tmp_path / "tiny.safetensors")
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(params["value_head"]))


def mistake(capsys, *argv):
    return mistakes.answer(capsys, command.main, "vpt", *argv)


def test_mistakes_are_one_line_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    reads_as(ARRAYS, monkeypatch)
    model, other = model_file(tmp_path / "tiny.model"), model_file(tmp_path / "2x.model", hidsize=2048)
    odd = model_file(tmp_path / "odd.model", impala_kwargs={"post_pool_groups": 2})
    (tmp_path / "list.model").write_bytes(pickle.dumps([1, 2]))
    (tmp_path / "text.model").write_text("<html>not found</html>")
    (tmp_path / "old.safetensors").write_text("precious")
    before, rest = files(tmp_path), ("--weights=tiny.weights", f"--output={tmp_path}")
    assert "--weights" in mistake(capsys, f"--model={model}", f"--output={tmp_path}")
    assert "--model --temperature" in mistake(capsys, *rest)
    assert "the temperature must be positive" in mistake(capsys, "--temperature=0", *rest)
    assert "no such file; the README of openai" in mistake(capsys, f"--model={tmp_path}/no.model", *rest)
    assert "says hidsize = 2048, but the network of tiny.weights has 8" in mistake(capsys, f"--model={other}", *rest)
    assert "impala_kwargs.post_pool_groups = 2" in mistake(capsys, f"--model={odd}", *rest)
    assert "is not a VPT .model file" in mistake(capsys, f"--model={tmp_path}/list.model", *rest)
    assert "is refused, it is not plain data" in mistake(capsys, f"--model={tmp_path}/text.model", *rest)
    exists = mistake(capsys, f"--model={model}", "--weights=old.weights", f"--output={tmp_path}")
    assert "old.safetensors exists already" in exists
    broken = {k: v for k, v in ARRAYS.items() if k != "net.final_ln.bias"}
    reads_as(broken, monkeypatch)
    assert "net.final_ln.bias is missing" in mistake(capsys, f"--model={model}", *rest)
    assert files(tmp_path) == before and (tmp_path / "old.safetensors").read_text() == "precious"


def test_an_inverse_dynamics_model_has_its_own_mask(tmp_path):
    arguments, temperature = vpt.read_model(model_file(tmp_path / "idm.model", "4.0", attention_mask_style="none"))
    assert temperature == 4.0
    vpt.check(arguments, IDM.network, "idm.model", "idm.weights")
    with pytest.raises(UsageError, match="attention_mask_style = 'none'"):
        vpt.check(arguments, POLICY.network, "idm.model", "tiny.weights")


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_model_file_that_would_run_code_is_refused(tmp_path, protocol):
    trace, path = tmp_path / "trace", tmp_path / "evil.model"
    args = {"net": {"args": ARGUMENTS}, "pi_head_opts": {"temperature": Trap(trace)}}
    path.write_bytes(pickle.dumps({"model": {"args": args}}, protocol))
    with pytest.raises(UsageError, match="evil.model is refused.*it asks for .*--temperature=2.0 instead") as error:
        vpt.read_model(path)
    assert "\n" not in str(error.value) and not trace.exists()
    pickle.loads(path.read_bytes())  # it is a trap indeed
    assert trace.exists()


@pytest.mark.parametrize("module", ["os", "posix", "builtins"])
def test_no_name_is_looked_up(tmp_path, module):
    """Written by hand: look up a name, call it with a text."""
    path, name = tmp_path / "evil.model", {"builtins": "eval"}.get(module, "system")
    trace = tmp_path / "trace"
    argument = f"touch {trace}" if name == "system" else f"open({str(trace)!r}, 'w')"
    path.write_bytes(f"c{module}\n{name}\n(V{argument}\ntR.".encode())
    with pytest.raises(UsageError, match=f"it asks for {module}.{name}"):
        vpt.read_model(path)
    assert not trace.exists()


def test_without_torch_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "tiny.weights").write_bytes(b"")
    with pytest.raises(UsageError, match=r"needs torch, once: pip install 'prowl_jax\[convert\]'"):
        vpt.read_weights(tmp_path / "tiny.weights")


def test_without_safetensors_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    (tmp_path / "tiny.safetensors").write_bytes(b"")
    with pytest.raises(ImportError, match=r"pip install 'prowl_jax\[vpt\]'"):
        vpt_weights.load_policy(tmp_path / "tiny.safetensors")


def test_reading_needs_no_torch():
    """Nor does anything that is imported to run a policy."""
    imported = "import sys, prowl_jax.models.published.vpt_weights"
    code = f"{imported}; sys.exit('torch' in sys.modules or 'safetensors' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[3])}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


class TestWithTorch:
    """The half that only a machine with torch can run."""

    @pytest.fixture
    def torch(self):
        return pytest.importorskip("torch", reason="torch reads the published .weights; it is not installed")

    @pytest.mark.parametrize("zipped", [True, False])
    def test_published_weights(self, torch, tmp_path, zipped):
        pytest.importorskip("safetensors")
        weights = tmp_path / "tiny.weights"
        tensors = {name: torch.from_numpy(array) for name, array in ARRAYS.items()}
        torch.save(tensors, weights, _use_new_zipfile_serialization=zipped)
        model = model_file(tmp_path / "tiny.model")
        assert command.main(["vpt", f"--model={model}", f"--weights={weights}", f"--output={tmp_path}"]) == 0
        policy, params = vpt_weights.load_policy(tmp_path / "tiny.safetensors")
        assert policy == POLICY
        jax.tree.map(np.testing.assert_array_equal, params, vpt_weights.from_published(POLICY, ARRAYS))

    def test_weights_that_would_run_code_are_refused(self, torch, tmp_path):
        trace, weights = tmp_path / "trace", tmp_path / "evil.weights"
        torch.save({"net": torch.zeros(3), "trap": Trap(trace)}, weights)
        with pytest.raises(UsageError, match=r"evil.weights is refused.*: it asks for [\w.]+$") as error:
            vpt.read_weights(weights)
        assert "\n" not in str(error.value) and not trace.exists()

    def test_what_is_no_dict_of_tensors(self, torch, tmp_path):
        for content in ([torch.zeros(3)], {"step": 3}):
            torch.save(content, tmp_path / "odd.weights")
            with pytest.raises(UsageError, match="does not hold a dict of tensors"):
                vpt.read_weights(tmp_path / "odd.weights")
        (tmp_path / "odd.weights").write_text("<html>not found</html>")
        with pytest.raises(UsageError, match="odd.weights is refused"):
            vpt.read_weights(tmp_path / "odd.weights")
