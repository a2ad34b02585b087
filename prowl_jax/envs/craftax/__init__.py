"""Craftax-Classic in pixels (Matthews et al. 2024, arXiv 2402.16801), a world that is itself a JAX program.

``environment`` is what a configuration names and needs no Craftax; ``world`` is the ``DeviceEnv``.
"""
