"""The smallest world model, for the tests here."""

from tiny_world import random_params, tiny  # noqa: F401
