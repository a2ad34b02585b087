"""What our VPT networks compute on the inputs of a file of vectors, under the names used there.

As a script, in double precision, for ``test_vpt_vectors.py``: prints as JSON, for each file, the
largest difference to each ``f64/`` array.

    JAX_ENABLE_X64=1 python vpt_vectors.py FILE...
"""

import json
import pathlib
import sys

import jax
import numpy as np

from prowl_jax.actions import Camera
from prowl_jax.models.policies.vpt_frames import resize
from prowl_jax.models.published.vpt_weights import from_published, is_inverse_dynamics, model_of
from prowl_jax.rl import categorical, value_normaliser
from prowl_jax.train.compilation_cache import enable_compilation_cache

FLOAT = np.float64 if jax.config.jax_enable_x64 else np.float32
HEADS = ("buttons", "camera")


def published(z, prefix="param/"):
    """The weights in ``z``; they were rounded to float16 before the originals ran."""
    return {name[len(prefix) :]: z[name].astype(FLOAT) for name in z.files if name.startswith(prefix)}


def outputs(z):
    """Names of the arrays that a port has to reproduce, without ``f64/``."""
    given = ("param", "config_json", "img", "action/", "resize/in", "ewma/target")
    names = {name.removeprefix("f64/") for name in z.files if not name.startswith(given)}
    inputs = {f"call{c}/{x}" for c in range(1, 6) for x in ("img", "first", "action/buttons", "action/camera")}
    return names - inputs


def arrays(z):
    """``{name: array}`` for every name in ``outputs(z)``, of whichever network ``z`` has the weights of."""
    return idm_arrays(z) if is_inverse_dynamics(published(z)) else policy_arrays(z)


def inner(intermediates, state):
    """Values along the way, from the outputs of the modules that flax has captured."""
    net = jax.tree.map(lambda x: x[0], intermediates["net"], is_leaf=lambda x: isinstance(x, tuple))
    picture = {f"stack{i}_frame0": net["cnn"][f"stacks_{i}"]["__call__"][0].transpose(2, 0, 1) for i in range(3)}
    rows = state.known.shape[0]

    def sequence(x):
        return x.reshape(rows, -1, x.shape[-1])

    found = picture | {
        "cnn_dense": sequence(net["cnn"]["dense"]["__call__"]),
        "img_latent": sequence(net["linear"]["__call__"]),
        "lastlayer": net["lastlayer"]["__call__"],
        "latent": net["__call__"][0],
    }
    for i in range(len(state.keys)):
        block = net[f"blocks_{i}"]
        h = block["pre_r_ln"]["__call__"]
        found |= {
            f"block{i}_normed_input": h,
            f"block{i}_after_attention": h + block["attention"]["__call__"][0],
            f"block{i}_output": block["__call__"][0],
        }
    return found


def state_arrays(state):
    """The memory under the original's names; there every block has the mask, which is the same for all."""
    found = {}
    for i, (keys, values) in enumerate(zip(state.keys, state.values, strict=True)):
        found |= {f"block{i}/K": keys, f"block{i}/V": values, f"block{i}/mask": state.known[:, None]}
    return found


def distribution(logits, actions, policy):
    """What both heads say; the whole is the sum of the parts."""
    found = {
        "entropy": categorical.entropy(logits, policy.sizes),
        "action_logprob": categorical.log_prob(logits, actions, policy.sizes),
    }
    parts = categorical.split(logits, policy.sizes)
    best = categorical.mode(logits, policy.sizes)
    for i, (head, part) in enumerate(zip(HEADS, parts, strict=True)):
        found |= {
            f"logits_raw/{head}": part * policy.network.temperature,
            f"logp/{head}": jax.nn.log_softmax(part),
            f"entropy_{head}": categorical.entropy(part, (part.shape[-1],)),
            f"argmax/{head}": best[..., i],
        }
    return found


def policy_arrays(z):
    """``arrays`` of a policy."""
    arrays = published(z)
    policy = model_of(arrays, temperature=2.0)
    params = from_published(policy, arrays)
    params_b = from_published(policy, {**arrays, **published(z, "param_b/")})

    @jax.jit
    def call(params, state, frames, first, actions):
        (logits, value, state), captured = policy.network.apply(
            {"params": params}, state, frames, first, capture_intermediates=True, mutable=["intermediates"]
        )
        modules = captured["intermediates"]
        found = distribution(logits, actions, policy)
        found["value"] = value[..., None]
        found["value_normalised"] = modules["value_head"]["linear"]["__call__"][0]
        found |= {f"inner/{name}": array for name, array in inner(modules, state).items()}
        found["latent"] = found["inner/latent"]
        return found | {f"state_out/{name}": x for name, x in state_arrays(state).items()}, state, logits

    start = policy.initial_state(2)
    state, found = start, {f"state0/{name}": x for name, x in state_arrays(start).items() if "mask" not in name}
    for c in range(1, 6):
        # The original reads the first column of ``first`` only; ours would honour the others too.
        first = z[f"call{c}/first"] & (np.arange(z[f"call{c}/first"].shape[1]) == 0)
        actions = np.stack([z[f"call{c}/action/{head}"] for head in HEADS], axis=-1)
        arrays, state, logits = call(params, state, z[f"call{c}/img"], first, actions)
        found |= {f"call{c}/{name}": np.asarray(array) for name, array in arrays.items()}
        if c == 1:
            other, _, logits_b = call(params_b, start, z["call1/img"], first, actions)
            found |= {f"call1_b/{name}": np.asarray(array) for name, array in other.items()}
            found |= divergences(policy, logits, logits_b)
    last = np.asarray(found["call1/logits_raw/buttons"])[:, -1]
    found |= {"call1/last_step/logits_raw/buttons": last} | normaliser_arrays(z, params, found)
    if "resize/in" in z.files:
        found["resize/out"] = resize(z["resize/in"], 128)
    return found


def divergences(policy, a, b):
    """Of policies A and B on call 1, whole and by heads."""

    @jax.jit
    def parts(a, b):
        found = {}
        for name, (p, q) in {"kl_a_b": (a, b), "kl_b_a": (b, a)}.items():
            found[name] = categorical.kl(p, q, policy.sizes)
            both = (categorical.split(x, policy.sizes) for x in (p, q))
            for head, of_p, of_q in zip(HEADS, *both, strict=True):
                found[f"{name}_{head}"] = categorical.kl(of_p, of_q, (of_p.shape[-1],))
        return found

    return {f"call1_b/{name}": np.asarray(x)[..., None] for name, x in parts(a, b).items()}


def normaliser_arrays(z, params, found):
    """The value normaliser, before and after an update."""
    statistics, target = params["value_head"]["normalizer"], z["ewma/target"].astype(FLOAT)
    after = value_normaliser.update(statistics, target)
    before = value_normaliser.normalise(statistics, target)
    return {
        "ewma/normalised_eval": before,
        "ewma/normalised_train": value_normaliser.normalise(after, target),
        "ewma/value_loss_eval": np.mean(np.square(np.asarray(before) - found["call1/value_normalised"])),
        **{f"ewma/after/{name}": array for name, array in after.items()},
    }


def idm_arrays(z):
    """``arrays`` of an inverse dynamics model."""
    arrays = published(z)
    model = model_of(arrays, temperature=4.0)
    params = from_published(model, arrays)
    actions = np.concatenate([z[f"action/{head}"] for head in HEADS], axis=-1)

    def captured(network, params, frames):
        logits, captured = network.apply(
            {"params": params}, frames, capture_intermediates=True, mutable=["intermediates"]
        )
        return logits, captured["intermediates"]

    @jax.jit
    def run(params, frames):
        logits, modules = captured(model.network, params, frames)
        best = categorical.mode(logits, model.sizes)
        along = inner(modules, modules["net"]["__call__"][0][1])
        along["lastlayer_discarded"] = along.pop("lastlayer")
        found = {f"inner/{name}": array for name, array in along.items()} | {
            "inner/conv3d_patch": jax.nn.relu(modules["conv3d_layer"]["__call__"][0])[:, :, :8, :8],
            "argmax/buttons": best[..., :20],
            "argmax/camera": best[..., 20:],
            "argmax_logprob": categorical.log_prob(logits, best, model.sizes),
            "entropy": categorical.entropy(logits, model.sizes),
            "action_logprob": categorical.log_prob(logits, actions, model.sizes),
        }
        other_logits, other_modules = captured(model.network.clone(use_lastlayer=True), params, frames)
        found["variant_lastlayer/latent"] = other_modules["net"]["__call__"][0][0]
        return found | heads(logits, "", model) | heads(other_logits, "variant_lastlayer/", model)

    found = {name: np.asarray(array) for name, array in run(params, z["img"]).items()}
    return found | {"argmax_env/camera_degrees": Camera().decode(found["argmax/camera"])}


def heads(logits, prefix, model):
    """Logits before the temperature and, without ``prefix``, log-probabilities by key and by axis."""
    buttons, camera = logits[..., :40], logits[..., 40:]
    found = {"logits_raw/buttons": buttons, "logits_raw/camera": camera}
    found = {prefix + name: array * model.network.temperature for name, array in found.items()}
    if prefix:
        return found
    each = {"buttons": buttons.reshape(*buttons.shape[:-1], 20, 2), "camera": camera.reshape(*camera.shape[:-1], 2, 11)}
    return found | {f"logp/{head}": jax.nn.log_softmax(array) for head, array in each.items()}


def main(paths):
    assert jax.config.jax_enable_x64
    enable_compilation_cache()
    said = {}
    for path in paths:
        with np.load(path) as z:
            found, names = arrays(z), [name for name in z.files if name.startswith("f64/")]
            apart = {name: np.abs(np.asarray(found[name.removeprefix("f64/")]) - z[name]) for name in names}
        said[pathlib.Path(path).name] = {name: float(difference.max()) for name, difference in apart.items()}
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1:])
