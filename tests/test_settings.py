"""A setting is stated once, and what is made of it."""

import dataclasses

import flax.linen as nn
import pytest

from prowl_jax.settings import COUNT, SHARE, check, doubles, one_of, read, setting, settings_of


@dataclasses.dataclass(frozen=True)
class Draws:
    rows: int
    kind: str = setting("rank", "how", one_of(("rank", "power")), key="draws", source="PLR: rank")
    share: float = setting(0.5, "of what is old", SHARE)
    sizes: tuple = setting((1, 2), "of something")

    def __post_init__(self):
        check(self)


class Network(nn.Module):
    actions: int
    width: int = setting(8, "of all layers", COUNT)


def test_settings_are_named_in_order_and_other_fields_are_not():
    kind, share, sizes = settings_of(Draws)
    assert (kind.field, kind.key, kind.default, kind.says) == ("kind", "draws", "rank", "how (PLR: rank)")
    assert (share.key, share.says, sizes.default) == ("share", "of what is old", (1, 2))
    assert [s.key for s in settings_of(Network)] == ["width"]


def test_an_instance_is_read_by_the_keys_of_a_configuration():
    config = {"draws": "power", "share": 0.25, "sizes": [3, 4], "other": 1}
    assert read(Draws, config, rows=7) == Draws(7, "power", 0.25, (3, 4))
    assert read(Draws, config, rows=7, share=1.0).share == 1.0
    assert read(Network, {"width": 3}, actions=2).width == 3
    with pytest.raises(KeyError, match="draws"):
        read(Draws, {"kind": "power", "share": 0.25, "sizes": (1,)}, rows=7)


def test_all_mistakes_of_an_instance_are_told():
    words = "Draws.kind=best is not one of rank, power; Draws.share=nan is not a share within 0..1"
    with pytest.raises(ValueError, match=words):
        Draws(1, "best", float("nan"))


def test_a_subclass_changes_a_default_or_takes_a_setting_away():
    @dataclasses.dataclass(frozen=True)
    class Own(Draws):
        share: float = setting(1.0, "of what is old", SHARE)
        sizes: tuple = ()

    assert [(s.key, s.default) for s in settings_of(Own)] == [("draws", "rank"), ("share", 1.0)]


def test_two_classes_of_a_group_that_claim_one_key_are_seen():
    assert doubles([Draws, Network]) == []
    assert doubles([Draws, Draws]) == ["draws", "share", "sizes"]
