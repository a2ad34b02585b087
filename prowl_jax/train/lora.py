"""Low-rank updates as another trainable set: ``W + in @ out`` for chosen matrices W, which stay frozen.

LoRA (arXiv 2106.09685) with its scale at 1. A convolution is the matrix of what it sees by what it says, [kh kw C, D]:
its update is a convolution of few channels and after it one of a pixel. The two factors stand in the trained tree where
the matrix stands in the frozen one, as ``lora_in`` and ``lora_out`` beside its ``kernel``; ``state.merge`` folds them
into it. So whatever merges the trained and the frozen part, the loop, the evaluation, an export, needs to
know nothing of them. ``out`` starts at zero: the merged parameters start as they were.
"""

import jax
import jax.numpy as jnp
from flax import traverse_util

from prowl_jax.train.state import LORA_IN, LORA_OUT, split_by_path


def split_low_rank(params, key, rank, components, whole):
    """(what is trained, what is frozen): low-rank factors and the parts that are trained whole; all the rest.

    Args:
      params: nested dict. key: for the factors.
      rank: columns of ``in``, rows of ``out``.
      components: a matrix gets factors if any of these names is on its path; a network names its own (``low_rank``).
      whole: a parameter is trained itself if any of these names is on its path.

    Returns:
      Two nested dicts; ``state.merge`` makes one of them. ValueError if there is no such matrix, or one
      that is smaller than the rank.
    """
    trained, frozen = split_by_path(params, whole)
    matrices = {
        path: kernel
        for path, kernel in traverse_util.flatten_dict(frozen).items()
        if path[-1] == "kernel" and set(components) & set(path)
    }
    if not matrices:
        raise ValueError(f"no matrix has any of {', '.join(components)} on its path")
    sides = {path: (kernel.size // kernel.shape[-1], kernel.shape[-1]) for path, kernel in matrices.items()}
    smallest = min(map(min, sides.values()))
    if not 1 <= rank <= smallest:
        raise ValueError(f"a rank is 1 to {smallest}, the shortest side of the matrices, not {rank}")
    factors = {}
    for i, (path, kernel) in enumerate(matrices.items()):
        rows, columns = sides[path]
        noise = jax.random.normal(jax.random.fold_in(key, i), (rows, rank), kernel.dtype)
        factors[(*path[:-1], LORA_IN)] = noise * rows**-0.5
        factors[(*path[:-1], LORA_OUT)] = jnp.zeros((rank, columns), kernel.dtype)
    return traverse_util.unflatten_dict(traverse_util.flatten_dict(trained) | factors), frozen
