"""Shipped weights: a world model, the policy and the inverse dynamics model that belong to it, in one file.

    from prowl_jax import zoo
    model = zoo.load("voxel")          # model.world_model, model.params, model.spec, ...

``python -m experiments.zoo`` lists, checks and exports them; each has a card beside it that says where it is from.
"""

from prowl_jax.zoo.files import Model, differences, load, names, read_card, save

__all__ = ["Model", "differences", "load", "names", "read_card", "save"]
"""A card is a dict: what it was trained on, by which command, for how long, and how good it is."""
