"""Named sizes of the world model, as in "Ti" or "S"."""

DIT_SIZES = {
    "XXS": dict(width=48, depth=1, heads=2, ffn=192),  # for tests: compiles in seconds
    "XXS2": dict(width=48, depth=2, heads=2, ffn=192),
    "XS": dict(width=96, depth=3, heads=2, ffn=384),
    "Ti": dict(width=128, depth=4, heads=4, ffn=512),
    "S": dict(width=192, depth=4, heads=4, ffn=768),
    "B": dict(width=384, depth=8, heads=8, ffn=1536),
    "L": dict(width=768, depth=12, heads=12, ffn=3072),
    "XL": dict(width=1152, depth=24, heads=12, ffn=4608),
    "wan1.3b": dict(width=1536, depth=30, heads=12, ffn=8960),  # Wan2.1-T2V-1.3B
}


def dit_size(name):
    """Width, depth, heads and ffn of a named size; ValueError lists the names."""
    if name not in DIT_SIZES:
        raise ValueError(f"no world-model size {name!r}; there are {', '.join(DIT_SIZES)}")
    return dict(DIT_SIZES[name])
