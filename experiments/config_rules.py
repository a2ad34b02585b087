"""What a configuration must satisfy beyond types; every broken rule is one line, before any work."""


def _window_chunks(c):
    return c.world_model.chunk >= 1 and c.world_model.window % c.world_model.chunk == 0


RULES = (
    (_window_chunks, "world_model.window={config.world_model.window} is not whole chunks of world_model.chunk={config.world_model.chunk}"),
)
