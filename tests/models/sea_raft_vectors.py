"""What our SEA-RAFT computes on the inputs of a file of vectors, under the names used there.

As a script, in double precision, for ``test_sea_raft_vectors.py``: prints as JSON the largest
difference to each ``f64/`` array.

    JAX_ENABLE_X64=1 python sea_raft_vectors.py FILE
"""

import functools
import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax.models.flow import sea_raft_parts as parts
from prowl_jax.models.published import sea_raft_weights as weights
from prowl_jax.train.compilation_cache import enable_compilation_cache

FLOAT = np.float64 if jax.config.jax_enable_x64 else np.float32
ITERATIONS = 4


def published(z):
    """The weights in ``z``; they were rounded to float16 before the original ran."""
    names = [name for name in z.files if name.startswith("param/")]
    return {name.removeprefix("param/"): z[name].astype(FLOAT) for name in names}


def port(z):
    """``(SeaRaft, params)``."""
    arrays = weights.clean(published(z))
    model = weights.model_of(arrays, ITERATIONS)
    return model, weights.from_published(model, arrays)


def last(x):
    """``[N, C, H, W]`` there is ``[N, H, W, C]`` here."""
    return np.moveaxis(x, 1, -1)


def images(z, case):
    """Both frames of a case, in 0..1."""
    return tuple(last(z[f"{case}/image{i}"]).astype(FLOAT) / 255 for i in (1, 2))


def outputs(z):
    """Names of the arrays that a port has to reproduce, without ``f64/``."""
    given = ("param", "config_json", "a/flow_gt", "a/valid", "sampler/img", "sampler/coords_xy")
    given += ("a/nf_", "a/sequence_loss")  # of the training loss, which is not ported
    names = {name for name in (n.removeprefix("f64/") for n in z.files) if not name.startswith(given)}
    return {name for name in names if "/image" not in name}


def arrays(z):
    """``{name: array}`` for every name in ``outputs(z)``, in torch's layout."""
    model, params = port(z)
    found, _, infos = case_a(model, params, *images(z, "a"))
    found["a/info_4_crop"] = infos[4][:, 40:72, 60:100]
    found["b/flow_4"], found["b/info_4"] = jax.jit(model.predict)(params, *images(z, "b"))
    found["c/flow"], of_doubled = jax.jit(functools.partial(case_c, model))(params, *images(z, "c"))
    found["c/info"] = of_doubled.reshape(1, 64, 2, 80, 2, 4).mean((2, 4))
    found = {name: np.moveaxis(x, -1, 1) for name, x in found.items()}
    shares, log_scale = jax.nn.softmax(infos[4][..., :2]), np.clip(infos[4][..., 2], 0, 10)
    found["a/heatmap_mean"] = np.mean(shares[..., 0] * log_scale)
    found["a/corr_iter0_row8_col10"] = found["a/inner/corr_iter0"][:, :, 8, 10]
    found["sampler/out"] = sampled(z)
    return found | thinned(found, outputs(z))


def thinned(found, names):
    """Those of ``names`` that end in ``_every5``: every fifth row and column of what stands before it."""
    matches = [re.fullmatch(r"(.*)_every(\d+)", name) for name in names]
    return {m[0]: found[m[1]][..., :: int(m[2]), :: int(m[2])] for m in matches if m}


def case_a(model, params, first, second):
    """``(arrays, flows, infos)``: what lies along the way, and all predictions in full size."""

    def run(network, first, second):
        nets, flows, infos = network.refine(first, second)
        maps = [network.fnet(x) for x in (first, second)]
        context = network.init_conv(network.cnet(jnp.concatenate([first, second], -1)))
        correlation = parts.look_up(parts.correlation_pyramid(*maps, network.levels), flows[0], network.radius)
        full = network.full_size_of_all(nets, flows, infos)
        return nets, flows, infos, maps, jnp.split(context, 2, -1)[1], correlation, full

    compute = jax.jit(lambda p, *x: model.network.apply({"params": p}, *x, method=run))
    nets, flows, infos, maps, context, correlation, full = compute(params, 2 * first - 1, 2 * second - 1)
    motion = parts.MotionEncoder(model.network.features).apply(
        {"params": params["update_block"]["encoder"]}, flows[0], correlation
    )
    found = {"fmap1": maps[0], "fmap2": maps[1], "context": context, "corr_iter0": correlation, "motion_iter0": motion}
    for i in range(ITERATIONS + 1):
        found |= {f"net{i}": nets[i], f"flow_8x_{i}": flows[i], f"info_8x_{i}": infos[i]}
    found = {f"a/inner/{name}": x for name, x in found.items()}
    full_flows, full_infos = map(np.asarray, full)
    found |= {f"a/flow_{i}": flow for i, flow in enumerate(full_flows)} | {"a/info_4": full_infos[4]}
    return found, full_flows, full_infos


def case_c(model, params, first, second):
    """Frames below the smallest size: the flow by the published scaling, and the info of the doubled frames."""
    doubled = [jax.image.resize(x, (1, 128, 160, 3), "bilinear") for x in (first, second)]
    return model.flow(params, first, second), model.predict(params, *doubled)[1]


def sampled(z):
    """The bilinear sampler alone: a window of one point around a pixel that "went" to the coordinates."""
    picture, coordinates = z["sampler/img"].astype(FLOAT), z["sampler/coords_xy"].astype(FLOAT)
    n, h, w, _ = coordinates.shape
    pixel = np.stack(np.meshgrid(np.arange(w), np.arange(h)), axis=-1)
    correlation = np.broadcast_to(picture[:, None], (n, h, w, *picture.shape[2:]))
    return parts.look_up((correlation,), coordinates - pixel, 0)[..., 0][:, None]


def main(path):
    assert jax.config.jax_enable_x64
    enable_compilation_cache()
    with np.load(path) as z:
        found = arrays(z)
        names = [f"f64/{name}" for name in sorted(outputs(z)) if f"f64/{name}" in z.files]
        apart = {name: float(np.abs(np.asarray(found[name.removeprefix("f64/")]) - z[name]).max()) for name in names}
    print(json.dumps(apart))


if __name__ == "__main__":
    main(sys.argv[1])
