"""Actions as words for the world model: a table of text embeddings, made once.

PROWL's adapter reads UMT5's embeddings of the actions' text; how the text reads is not published. Here
every value of every factor is a phrase ("move forward", "no jump", "yaw +3.2 degrees"), whose embedding is
the mean over its tokens. The phrases are few, so the table holds them all and every action that a policy
may ever do is found in it. ``experiments/embed_actions.py`` makes the file.
"""

import dataclasses
import json
import pathlib
import re

import jax.numpy as jnp
import numpy as np

from prowl_jax.models.published import torch_layout

UMT5_WIDTH = 4096
"""Width of the embeddings of UMT5-XXL, Wan's text encoder."""


def phrases(spec):
    """A phrase for each value of each factor of an ``ActionSpec``, factor after factor: ``sum(sizes)`` texts."""
    return [_phrase(factor, value) for factor in spec.factors for value in range(factor.size)]


def _phrase(factor, value):
    label = factor.labels[value]
    if factor.camera:
        return f"{factor.name} {label} degrees"
    text = label if factor.name in label else f"{factor.name} {label}" if label else f"no {factor.name}"
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[._+]", " ", text).lower()  # swapHands, hotbar.1: as words


@dataclasses.dataclass(frozen=True, eq=False)
class ActionText:
    """A table of embedded phrases; compared by identity, so that jit can close over it.

    Attributes:
      sizes: number of values of each of the A factors.
      embeddings: float32 ``[sum(sizes), E]``, in the order of ``phrases``.
    """

    sizes: tuple
    embeddings: np.ndarray

    @property
    def width(self):
        """E, the DiT's ``text_width``."""
        return self.embeddings.shape[1]

    def __call__(self, actions):
        """Int ``[..., A]`` -> float32 ``[..., A, E]``; ``UNKNOWN`` is zero, as Wan pads its text."""
        offsets = np.cumsum((0, *self.sizes[:-1]))
        found = jnp.asarray(self.embeddings)[jnp.maximum(actions, 0) + offsets]
        return jnp.where(actions[..., None] < 0, 0.0, found)


def save(path, spec, embeddings, model):
    """Write the table ``[sum(spec.sizes), E]`` that ``model``, a name, made of ``phrases(spec)``."""
    arrays = {"embeddings": np.asarray(embeddings, np.float32)}
    torch_layout.save(path, arrays, {"phrases": json.dumps(phrases(spec)), "model": model})


def load_action_text(path, spec):
    """The ``ActionText`` of an ``ActionSpec`` from a file of ``save``.

    Raises:
      FileNotFoundError: it is not there; the message says how to make it. ValueError: it holds
      something else, or the phrases of other actions. ImportError: safetensors is not installed.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(
            f"no embedded action text at {path}: python -m experiments.embed_actions --help says how to make it"
        )
    arrays, metadata = torch_layout.load_arrays(path)
    if set(arrays) != {"embeddings"} or "phrases" not in metadata:
        raise ValueError(f"{path} holds no embedded action text; python -m experiments.embed_actions makes such files")
    try:
        theirs, ours = list(json.loads(metadata["phrases"])), phrases(spec)
    except (ValueError, TypeError, RecursionError):
        raise ValueError(f"{path}: its phrases are no list in JSON; embed them again") from None
    if theirs != ours:
        other = next((f"{a!r} where it should be {b!r}" for a, b in zip(theirs, ours, strict=False) if a != b), "")
        raise ValueError(
            f"{path} holds the text of other actions ({len(theirs)} phrases, not {len(ours)}"
            f"{', ' + other if other else ''}); embed those of this environment"
        )
    embeddings = arrays["embeddings"]
    if embeddings.ndim != 2 or len(embeddings) != len(ours) or not embeddings.size:
        raise ValueError(f"{path} has embeddings {embeddings.shape} for {len(ours)} phrases; embed them again")
    torch_layout.check_real({f"{path}: embeddings": embeddings.dtype})
    return ActionText(spec.sizes, embeddings)
