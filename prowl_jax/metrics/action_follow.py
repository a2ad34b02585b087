"""AFS-EPE: does the prediction move as reality does? (PROWL, arXiv 2605.18803, l_AFS.)

    l_AFS = 1 / (N H_raw) sum_t sum_i || F_pred(t, i) - F_real(t, i) ||_2

F is the optical flow of consecutive frames: of predicted ones, and of real ones. It is the
mean end-point error, in pixels at the model's resolution, over frame pairs and pixels. Any flow
will do for F as long as it is the same for both: a function of two frames ``[..., H, W, 3]`` in 0..1
that says where each pixel of the first has gone, ``[..., H, W, 2]``, such as ``optical_flow``. Nothing is
assumed where none is given: figures of mixed flows cannot be compared.
"""

import chex
import jax.numpy as jnp


def afs_epe(flow_predicted, flow_real):
    """Mean end-point error: two float ``[..., H_raw, H, W, 2]`` in pixels -> ``[...]``."""
    chex.assert_equal_shape([flow_predicted, flow_real])
    error = jnp.linalg.norm(flow_predicted - flow_real, axis=-1)
    return jnp.mean(error, axis=(-3, -2, -1))


def flow_of_frames(frames, flow):
    """Flow between consecutive frames: float ``[..., T, H, W, 3]`` in 0..1 -> ``[..., T-1, H, W, 2]``."""
    return flow(frames[..., :-1, :, :, :], frames[..., 1:, :, :, :])
