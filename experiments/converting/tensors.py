"""Reading the tensors of a published file, without running what may be in it."""

import pathlib
import re

from experiments.run.config_file import UsageError


def read_tensors(path, whose):
    """``{name: numpy array}`` of a safetensors file, or of a torch file by its loader of tensors only.

    Real numbers of any width become float32; whole numbers stay what they are, for they are no weights.

    Args:
      path: where the file is. whose: ``"VPT's"``, for the messages.

    Raises:
      UsageError: torch is missing, or the file holds anything but a dict of tensors. ValueError,
      ImportError: of safetensors.
    """
    if pathlib.Path(path).suffix == ".safetensors":
        from prowl_jax.models.published import torch_layout

        return torch_layout.load_arrays(path)[0]
    try:
        import torch
    except ImportError as error:
        raise UsageError(f"converting {whose} weights needs torch, once: pip install 'prowl_jax[convert]'") from error
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001, by kind of damage a pickle, zip or runtime error
        # torch's own words go on to say how to load it all the same.
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it asks for {asked[1]}" if asked else f"{type(error).__name__}; if it was cut off, download it again"
        raise UsageError(f"{path} is refused, it is not a file of tensors: {reason}") from None
    if not isinstance(tensors, dict) or not all(isinstance(t, torch.Tensor) for t in tensors.values()):
        raise UsageError(f"{path} does not hold a dict of tensors, as {whose} weights do")
    try:
        return {name: (t.float() if t.is_floating_point() else t).detach().numpy() for name, t in tensors.items()}
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"{path} holds tensors that are not plain numbers: {str(error).splitlines()[0]}") from None
