"""Minecraft's actions in four forms, and the ways between them, for numpy and for JAX arrays.

  minerl   a dict of the 23 keys of ``MINERL_KEYS`` (0 or 1, ``[...]``) and ``camera`` (float
           ``[..., 2]``, degrees a step: pitch + down, yaw + to the right). What MineRL's
           ``env.step`` takes, and what recordings hold.
  vpt      (keys, bins): int32 ``[..., 20]`` in the order of ``VPT_KEYS``, and int32 ``[..., 2]``,
           the mu-law bins of pitch and yaw, 0..10, 5 being no movement. What VPT's inverse dynamics
           model reads off frames.
  joint    int32 ``[..., 2]``: VPT's index of a combination of buttons (0..8640) and of a camera
           movement (0..120), an action of ``VPT_SPEC``. What a VPT policy draws.
  factors  int32 ``[..., 14]``, an action of ``SPEC``. What the world model is given.

Each ``A_to_B`` works on whatever it is given: numpy arrays give numpy arrays, and as soon as one
array is of JAX all results are (inside ``jit`` as well). For numpy the input is checked, and a
ValueError names what is off; under ``jit`` it cannot be.

What is lost. Everything not named survives.

  to factors   degrees fall into bins (10 degrees and more into the outermost). Forward and back
               pressed together count as neither, and so do left and right: they cancel in the
               game too. Of several hotbar keys the highest wins. ESC is dropped.
  to joint     pickItem and swapHands are dropped, and clashes are resolved as VPT resolves them: sprint
               and sneak count as sneak; inventory wins over every other key and stills the camera.
  to minerl    nothing. Degrees are the centres of the bins; ESC, which ends an episode, is always 0.

A joint action whose buttons say "no camera" moves no camera whatever its camera index; such an
action is the same as the one with camera 60. Index 8640 (inventory) is the exception: VPT lets its
camera index through. So a policy may draw inventory with a camera movement, and ``joint_to_factors``
keeps both, but nothing converts to that action.

Facts: VPT (arXiv 2206.11795, appendix on the action space) and its public code, openai/
Video-Pre-Training (MIT): the action mapping, the quantiser and their order of keys. This module
needs numpy only, as ``actions`` does, so that environment workers start fast.
"""

import itertools

import numpy as np

from prowl_jax.actions import ActionSpec, Camera, Factor, camera, choice

HOTBAR = tuple(f"hotbar.{i}" for i in range(1, 10))
VPT_KEYS = (
    *("attack", "back", "forward", "jump", "left", "right", "sneak", "sprint", "use", "drop", "inventory"),
    *HOTBAR,
)
MINERL_KEYS = (*VPT_KEYS, "ESC", "pickItem", "swapHands")

CAMERA = Camera(max_degrees=10.0, bins=11, mu=10.0)
STILL = CAMERA.bins // 2

_SINGLE = ("jump", "sneak", "sprint", "attack", "use", "drop", "inventory", "swapHands", "pickItem")
SPEC = ActionSpec(
    (
        choice("move", "forward", "back"),
        choice("strafe", "left", "right"),
        *(choice(key, key) for key in _SINGLE),
        choice("hotbar", *HOTBAR),
        camera("pitch", CAMERA),
        camera("yaw", CAMERA),
    )
)
"""The world model's factors. Sneak, sprint and inventory are factors of their own: nothing excludes them."""

# VPT's button groups; in the joint index the last runs fastest, and 0 is "none" in each.
_GROUPS = (
    HOTBAR,
    ("forward", "back"),
    ("left", "right"),
    ("sprint", "sneak"),
    *((key,) for key in ("use", "drop", "attack", "jump", "camera")),
)
INVENTORY = int(np.prod([len(group) + 1 for group in _GROUPS]))
"""The joint button index of inventory, after the 8640 combinations of the groups."""
STILL_CAMERA = STILL * CAMERA.bins + STILL
"""The joint camera index that moves nothing: 60."""


def _joint_spec():
    combinations = itertools.product(*(("", *group) for group in _GROUPS))
    buttons = (*("+".join(filter(None, keys)) for keys in combinations), "inventory")
    moves = itertools.product(CAMERA.degrees, repeat=2)
    turns = tuple(f"pitch {pitch:+.1f} yaw {yaw:+.1f}" for pitch, yaw in moves)
    return ActionSpec((Factor("buttons", buttons), Factor("camera", turns, still=STILL_CAMERA)))


VPT_SPEC = _joint_spec()
"""VPT's own two heads as factors, of 8641 and 121 values."""

# Where the quantiser goes from bin k to k+1. Comparing a float32 with the largest float32 not above
# a limit is comparing it with the limit itself, so JAX's bins of float32 degrees are numpy's.
_LIMITS = CAMERA.decode(np.arange(CAMERA.bins - 1) + 0.5)
_LIMITS_32 = _LIMITS.astype(np.float32)
_LIMITS_32 = np.where(_LIMITS_32 > _LIMITS, np.nextafter(_LIMITS_32, np.float32(-np.inf)), _LIMITS_32)


def minerl_to_factors(action):
    """Degrees to bins; forward+back is neither, left+right too, the highest hotbar key wins, no ESC."""
    return _to_factors(*_from_minerl(action))


def vpt_to_minerl(keys, bins):
    """Bins to degrees (float64 in numpy, float32 in JAX); the three keys VPT does not know are 0."""
    return _to_minerl(*_from_vpt(keys, bins))


def joint_to_factors(joint):
    """The world model's factors of a joint action; nothing that reaches the game is lost."""
    return _to_factors(*_from_joint(joint))


def factors_to_minerl(factors):
    """The keys and degrees of ``SPEC``'s factors; nothing is lost."""
    return _to_minerl(*_from_factors(factors))


def factors_to_joint(factors):
    """pickItem and swapHands are dropped, sneak wins over sprint, inventory over everything."""
    return _to_joint(*_from_factors(factors))


# In between stands ``(held, bins)``: a dict of all 23 keys as bool [...], and int32 [..., 2].


def _namespace(*arrays):
    """``jax.numpy`` where one of ``arrays`` is JAX's, else numpy. Asks the arrays: imports nothing."""
    for array in arrays:
        module = array.__array_namespace__() if hasattr(array, "__array_namespace__") else np
        if module is not np:
            return module
    return np


def _from_minerl(action):
    unknown = set(action) - {*MINERL_KEYS, "camera"}
    if unknown:
        raise ValueError(f"no Minecraft key {min(unknown)!r}; there are {', '.join(MINERL_KEYS)} and camera")
    xp = _namespace(*action.values())
    arrays = {name: xp.asarray(value) for name, value in action.items()}
    degrees = arrays.pop("camera", np.zeros(2))
    if degrees.shape[-1:] != (2,):
        raise ValueError(f"camera must be degrees [..., 2] (pitch, yaw), got {degrees.shape}")
    shape = np.broadcast_shapes(degrees.shape[:-1], *(array.shape for array in arrays.values()))
    held = {key: xp.broadcast_to(arrays.get(key, 0) != xp.asarray(0), shape) for key in MINERL_KEYS}
    return held, _encode(xp, xp.broadcast_to(degrees, (*shape, 2)))


def _from_vpt(keys, bins):
    xp = _namespace(keys, bins)
    keys, bins = xp.asarray(keys), xp.asarray(bins)
    if keys.shape[-1:] != (len(VPT_KEYS),) or bins.shape != (*keys.shape[:-1], 2):
        raise ValueError(f"keys must be [..., {len(VPT_KEYS)}] and bins [..., 2], got {keys.shape} and {bins.shape}")
    if xp is np and (bins.dtype.kind not in "iu" or (bins.size and not 0 <= bins.min() <= bins.max() < CAMERA.bins)):
        raise ValueError(
            f"camera bins must be ints in 0..{CAMERA.bins - 1}, got {bins.dtype} {bins.min()}..{bins.max()}"
        )
    return _all_keys(xp, zip(VPT_KEYS, xp.moveaxis(keys != 0, -1, 0), strict=True)), bins.astype(np.int32)


def _from_joint(joint):
    xp, joint = _checked(VPT_SPEC, joint)
    buttons, turn = joint[..., 0], joint[..., 1]
    inventory = buttons == INVENTORY
    rest, pressed = xp.where(inventory, 0, buttons), {"inventory": inventory}
    for group in reversed(_GROUPS):
        rest, value = rest // (len(group) + 1), rest % (len(group) + 1)
        pressed.update({key: value == i for i, key in enumerate(group, 1)})
    turn = xp.where(pressed.pop("camera") | inventory, turn, STILL_CAMERA)
    bins = xp.stack([turn // CAMERA.bins, turn % CAMERA.bins], axis=-1)
    return _all_keys(xp, pressed.items()), bins


def _from_factors(factors):
    xp, factors = _checked(SPEC, factors)
    pressed = {}
    for i, factor in enumerate(SPEC.factors):
        if not factor.camera:
            pressed.update({key: factors[..., i] == v for v, key in enumerate(factor.labels) if key})
    return _all_keys(xp, pressed.items()), factors[..., list(SPEC.camera_factors)]


def _to_minerl(held, bins):
    xp = _namespace(bins)
    action = {key: held[key].astype(np.int32) for key in MINERL_KEYS}
    action["ESC"] = xp.zeros_like(action["ESC"])
    action["camera"] = xp.asarray(CAMERA.degrees)[bins]
    return action


def _to_joint(held, bins):
    xp = _namespace(bins)
    held = {**held, "sprint": held["sprint"] & ~held["sneak"], "camera": xp.any(bins != STILL, axis=-1)}
    buttons = xp.zeros(bins.shape[:-1], np.int32)
    for group in _GROUPS:
        buttons = buttons * (len(group) + 1) + _choose(xp, held, group)
    buttons = xp.where(held["inventory"], INVENTORY, buttons)
    turn = xp.where(held["inventory"], STILL_CAMERA, bins[..., 0] * CAMERA.bins + bins[..., 1])
    return xp.stack([buttons, turn], axis=-1).astype(np.int32)


def _to_factors(held, bins):
    xp = _namespace(bins)
    choices = [_choose(xp, held, factor.labels[1:]) for factor in SPEC.factors if not factor.camera]
    return xp.concatenate([xp.stack(choices, axis=-1), bins], axis=-1).astype(np.int32)


def _choose(xp, held, keys):
    """Which of ``keys`` is held, counted from 1: of hotbar keys the highest, of two opposites neither."""
    values = xp.stack([xp.where(held[key], i, 0) for i, key in enumerate(keys, 1)])
    value = values.max(axis=0)
    if keys in (("forward", "back"), ("left", "right")):
        value = xp.where(values.min(axis=0) > 0, 0, value)
    return value


def _all_keys(xp, pressed):
    """``held`` of the keys in ``pressed``; the others are up."""
    pressed = dict(pressed)
    up = xp.zeros(np.shape(next(iter(pressed.values()))), bool)
    return {key: pressed.get(key, up) for key in MINERL_KEYS}


def _checked(spec, actions):
    xp = _namespace(actions)
    if xp is np:
        return xp, spec.check(actions)
    if actions.shape[-1:] != (len(spec.factors),):
        raise ValueError(f"actions must be ints [..., {len(spec.factors)}], got {actions.dtype} {actions.shape}")
    return xp, actions.astype(np.int32)


def _encode(xp, degrees):
    if xp is np:
        if not np.isfinite(degrees).all():
            raise ValueError("camera holds degrees that are not finite")
        return CAMERA.encode(degrees)
    limits = _LIMITS
    if degrees.dtype != np.float64:
        degrees, limits = degrees.astype(np.float32), _LIMITS_32
    return (degrees[..., None] > limits).sum(axis=-1, dtype=np.int32)
