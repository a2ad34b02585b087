"""One who plays: the dream has the same keys and begins with what was real; clips can be acted again."""

import dataclasses
import io
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments.live import messages, recording, yardstick
from experiments.live.hunt import LEAST_SEEN, Hunt, length
from experiments.live.others import MIRRORED, STILL, Hands, third_of, thirds
from experiments.live.programs import Programs, Sampling, choices, own_sampling, sampled
from experiments.live.session import RECORDED, Session
from experiments.live.yardstick import ADVERSARY, PI_REF
from prowl_jax import zoo
from prowl_jax.actions import ActionSpec, Camera, camera
from prowl_jax.envs.voxel import SPEC
from prowl_jax.metrics.optical_flow import small_flow
from prowl_jax.models.error_head import ErrorHead
from prowl_jax.models.unet.world_model import even_levels, noise_levels
from prowl_jax.rewards.best_of import BestOf


@pytest.fixture
def session(played):
    one = Session(played, 3)
    yield one
    one.close()


def test_the_yardsticks_that_are_stored_are_those_of_the_weights_that_are_shipped():
    stored = {path.stem: json.loads(path.read_text())["weights"] for path in yardstick.FOLDER.glob("*.json")}
    assert stored == {name: zoo.read_card(name)["sha256"] for name in zoo.names()}, (
        "after new weights: python -m experiments.play --weights=NAME --yardstick=experiments/live/yardsticks/NAME.json"
    )


def forward(on=True):
    return messages.Act({"move": 1} if on else {}, {}, {}, 5.0)


def test_keys_move_both_and_are_told_with_the_picture(session):
    session.tick()
    session.inbox.append(forward())
    before, first, second = session.frames[-1], session.tick(), session.tick()
    assert first.header["held"] == [1, session.played.spec.null[1]] and first.header["stamp"] == 5.0
    assert (first.real != before).any() and (second.real != first.real).any()
    assert first.dream.shape == first.real.shape and (second.dream != first.dream).any()


def test_a_dream_begins_as_a_rollout_from_the_last_real_frames(session):
    session.inbox.append(messages.Order("resync"))
    session.tick()
    programs, params = session.played.programs, session.played.params["phase1"]
    session._wake()
    frames = np.stack(list(session.frames)[-programs.seen :])[None]
    real_before = session.clip()[1][-programs.seen :][None]
    session.temperature = 0.0  # no chance: the rollout below has none either
    session.inbox.append(forward())
    picture = session.tick()
    actions = real_before.copy()
    actions[0, -1] = picture.header["held"]
    latents = programs.model.encode(params, frames)
    cache = programs.model.prefill(params, latents, jnp.asarray(actions))
    noise = jnp.zeros((1, 1, *latents.shape[2:]))
    expected, _ = programs.model.next_chunk(params, noise, cache, jnp.asarray(actions[:, -1:]))
    shown = np.round(np.asarray(programs.model.decode(params, expected))[0] * 255).astype(np.uint8)
    assert np.abs(shown.astype(int) - picture.dream).max() <= 1


def test_a_clip_acted_again_gives_its_frames(session, toy):
    rng = np.random.default_rng(1)
    for _ in range(12):
        session.inbox.append(messages.Act({"move": int(rng.integers(3))}, {}, {}, 0.0))
        session.tick()
    frames, actions = session.clip()
    ring, walker = session.played.world._env, None
    for column in range(16):  # the state is not kept with a clip: find the column that looks like it
        state = toy.Walker(jax.random.key(0), jnp.int32(column), jnp.int32(0), jnp.int32(0))
        if (np.asarray(ring._see(state, False, False).frame) == frames[0]).all():
            walker = state
    for t in range(len(frames) - 1):
        walker, after = jax.jit(ring.step)(walker, actions[t])
        np.testing.assert_array_equal(after.frame, frames[t + 1])
    assert (actions[-1] == session.played.spec.null).all()


def test_hold_stops_reality_and_not_the_dream(session):
    session.tick()
    session.inbox.extend([forward(), messages.Switch("hold", True)])
    first, second = session.tick(), session.tick()
    assert (first.real == second.real).all() and (first.dream != second.dream).any()
    assert session.pair() is None
    session.inbox.append(messages.Switch("hold", False))
    assert (session.tick().real != second.real).any()


def test_an_episode_that_ends_ends_the_dream_and_both_begin_anew(short_lived):
    session = Session(short_lived, 0)
    pictures = [session.tick() for _ in range(30)]
    assert any(p.header["restarted"] for p in pictures)
    for p in pictures:
        assert not (p.header["restarted"] and p.dream is not None)
    assert pictures[-1].dream is not None or pictures[-2].dream is not None
    frames, actions = session.clip()
    assert len(frames) == len(actions) <= 10


def test_figures_of_the_last_second(session):
    assert session.figures() == {}
    session.tick()
    for _ in range(25):
        session.tick()
        if session.pair() is not None:
            session.measure(session.pair())
    figures = session.figures()
    assert figures["frames"] == 20 and figures["regret"] > 0 and np.isfinite(list(figures.values())).all()
    real = np.stack([session.frames[-1]] * 2)
    session._figures.begin(real[0])
    session.measure((real, real, real[0]))  # a perfect dream
    perfect = session.figures()
    assert perfect["regret"] <= 1e-6 and perfect["epe"] == 0 and perfect["left"] == 0  # encoded twice: to rounding
    assert session.figures()["sharpness"] == pytest.approx(1)


def test_the_third_picture(session):
    assert thirds(session.played) == ["none", STILL, MIRRORED]
    session.inbox.append(messages.Change("third", STILL))
    session.tick()
    session.inbox.append(forward())
    picture = session.tick()
    assert picture.third is not None and (picture.third != picture.dream).any()
    session.inbox.append(messages.Change("third", "../etc"))
    session.tick()
    assert session.third == STILL
    _, mirrored = third_of(session.played, MIRRORED)
    assert mirrored(np.array([[1, 0], [2, 3]])).tolist() == [[1, 4], [2, 1]]


@pytest.mark.parametrize(("names", "which"), [(("yaw", "pitch"), 0), (("pitch", "axis_0"), 1), (("pitch",), None)])
def test_a_mirror_exchanges_left_and_right_of_any_camera(names, which):
    spec = ActionSpec(tuple(camera(name, Camera(10.0, bins=5)) for name in names))
    _, mirrored = third_of(types.SimpleNamespace(spec=spec, dreamer="a"), MIRRORED)
    expected = np.zeros((1, len(names)), int)
    if which is not None:
        expected[0, which] = 4
    assert mirrored(np.zeros((1, len(names)), int)).tolist() == expected.tolist()


def test_settings_wait_until_they_are_compiled(session, played):
    session.inbox.append(messages.Change("steps", 1))
    session.tick()
    assert session.sampling == own_sampling(played.programs.model) and session.asked == Sampling(1)
    played.programs.compile_ahead(session.asked)
    session.take(session.asked)
    assert session.sampling.steps == 1 and session.asked is None and session.tick().dream is not None
    session.inbox.append(messages.Change("steps", 77))
    session.tick()
    assert session.asked is None
    assert choices(played.programs.model)["cache"] == ("",)


def test_of_several_dreams_the_best_goes_on(played):
    model, params = played.programs.model, played.params["phase1"]
    chooser = BestOf(model, lambda params, dream: dream.latents.mean((1, 2, 3, 4)), 1)
    programs = Programs(chooser, params, played.programs.frame_shape, model.context, small_flow)
    assert choices(chooser)["best_of"] == (1, 2, 4, 8) and choices(model)["best_of"] == (1,)
    plain, rng, key = own_sampling(chooser), np.random.default_rng(0), jax.random.key(5)
    several = dataclasses.replace(plain, best_of=4)
    assert sampled(chooser, plain) == model and sampled(chooser, several).dreams == 4
    frames = rng.integers(0, 256, (1, programs.seen, *programs.frame_shape)).astype(np.uint8)
    actions = np.zeros((1, programs.seen, 2), np.int32)

    def dream(sampling, key):
        sleep = programs.wake(sampling)(params, frames, actions)
        return programs.dream(sampling)(params, sleep, key, jnp.float32(1.0), actions[:, :1])

    could = [dream(plain, one) for one in jax.random.split(key, 4)]
    best = int(np.argmax([np.asarray(sleep.past)[:, -1].mean() for _, sleep in could]))
    shown, after = dream(several, key)
    np.testing.assert_array_equal(shown, could[best][0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after, could[best][1])


def test_noise_levels_fall(played):
    assert noise_levels((1.0, 0.13, 0.0), 1) == (1.0, 0.0)
    four = noise_levels((1.0, 0.13, 0.0), 4)
    assert four[::2] == pytest.approx((1.0, 0.13, 0.0)) and all(a > b for a, b in zip(four, four[1:], strict=False))
    assert len(noise_levels((1.0, 0.0), 8)) == 9
    assert sampled(played.programs.model, Sampling(2, 0.2)).context_noise == 0.2


def test_a_network_that_takes_shortcuts_is_offered_its_own_numbers_of_steps(played):
    model = played.programs.model
    short = dataclasses.replace(model, dit=model.dit.clone(shortcut=16), sampler_levels=even_levels(2))
    assert choices(short)["steps"] == (1, 2, 4, 8, 16)
    assert sampled(short, Sampling(4)).sampler_levels == even_levels(4)


def test_what_a_head_expects_is_a_map_where_the_page_wants_it(played):
    head = ErrorHead(played.programs.model.action_sizes, width=4)
    params = head.init(jax.random.key(0), played.programs.model.latent_shape(played.programs.frame_shape), 0.1)
    session = Session(dataclasses.replace(played, error_head=(head, params)), 3)
    session.tick()
    assert session.tick().expected is None
    session.inbox.append(messages.Change("map", "expected"))
    picture = session.tick()
    assert picture.expected.shape == picture.dream.shape and picture.header["panels"][-1] == "expected"
    std = np.mean(played.params["phase1"]["latent_std"])
    assert abs(int(picture.expected[0, 0, 0, 0]) - 255 * 0.1 * std / 2) <= 1  # a fresh head says what is typical
    session.close()
    session = Session(played, 3)  # without a head nothing is drawn, whatever a page says
    session.inbox.append(messages.Change("map", "expected"))
    assert session.tick().expected is None and session.tick().expected is None
    session.close()


def test_a_camera_turns_as_far_as_the_mouse_went():
    hands = Hands(SPEC)
    hands.heed(messages.Act({}, {"yaw": 25.0}, {}, 0.0))
    yaw = SPEC.index("yaw")
    turned = sum(SPEC.factors[yaw].camera.degrees[hands.next()[yaw]] for _ in range(12))
    assert turned == pytest.approx(25.0, abs=0.5)
    hands.heed(messages.Act({"jump": 1}, {}, {"pitch": 3.2}, 1.0))
    action = hands.next()
    assert action[SPEC.index("jump")] == 1 and action[SPEC.index("pitch")] > SPEC.factors[SPEC.index("pitch")].null


def test_a_recording_ends_by_itself_and_can_be_looked_at(session):
    session.tick()
    session.inbox.append(messages.Switch("record", True))
    for _ in range(6):
        session.tick()
    assert len(session.recorded) == 6
    film = Image.open(io.BytesIO(recording.webp(session.recorded)))
    assert film.size == (2 * 256 + recording.GAP, 256) and film.n_frames >= 1
    session.recorded = session.recorded * (RECORDED // 6)
    session.tick()
    assert not session.recording


def test_what_is_read_off_a_dream_belongs_to_its_tick(session):
    session.tick()
    shown = {}
    for _ in range(14):
        picture = session.tick()
        shown[picture.header["tick"]] = picture.dream[-1]
        if session.strip.due():
            session.strip.read(lambda frames: np.stack([f[:2, 0, 0] for f in frames[1:]]).astype(int))
    read = session.strip.take()
    ticks = [tick for tick, _ in read]
    assert len(read) >= 8 and ticks == sorted(set(ticks)) and session.strip.take() == []
    for tick, action in read:  # the reader here says the first pixels of the frame that an action led to
        assert action == shown[tick][:2, 0, 0].tolist()


def test_who_hunts_without_a_measure_becomes_one(played):
    """There is no score until enough seconds have been shown, and then one for all of them; the board stands before."""
    regrets = iter(range(1, 20))
    hunt = Hunt(played, lambda frames, actions: {"regret": np.array([next(regrets)]), "afs": np.array([1.0])})
    frames, actions = np.zeros((length(played), 16, 16, 3), np.uint8), np.zeros((length(played), 2), np.int32)
    told = [hunt.look(frames, actions) for _ in range(LEAST_SEEN + 1)]
    assert [said["score"] is None for said in told] == [True] * (LEAST_SEEN - 1) + [False] * 2
    assert [said["board"][0]["best"] is None for said in told] == [True] * (LEAST_SEEN - 1) + [False] * 2
    assert told[-1]["board"][0]["best"] == told[-1]["score"] == max(told[-1]["best"])


def test_pi_ref_is_the_measure_where_there_is_no_other(played, monkeypatch, capsys):
    """And the adversary stands beside it; one whose world breaks does not, and who hunts goes on."""
    worlds = {PI_REF: 3, ADVERSARY: 2, "another": None}
    ready = dataclasses.replace(played, policies=dict.fromkeys(worlds))
    regrets = iter([1.0, 2.0, 3.0, 5.0, 9.0, 4.0])

    def seconds_of(played, who, seconds, seed, check):
        if worlds[who] is None:
            raise RuntimeError("its process died\nand more of it")
        return np.zeros((worlds[who], length(played), 16, 16, 3), np.uint8), np.zeros((worlds[who], 6, 2), np.int32)

    monkeypatch.setattr(yardstick, "_seconds_of", seconds_of)
    scorer = lambda frames, actions: {"regret": np.array([next(regrets)]), "afs": np.array([1.0])}  # noqa: E731
    rivals = yardstick.Rivals(ready, scorer)
    rivals.meet()
    said = Hunt(ready, scorer, rivals).look(*(x[0] for x in seconds_of(ready, PI_REF, 1, 0, None)))
    assert said["measure"] == "3 seconds of pi_ref"
    assert said["score"] == pytest.approx((4 - 2) / np.std([1, 2, 3]), 1e-4)
    assert [(row["who"], row["regret"]) for row in said["board"]] == [(ADVERSARY, 7.0), ("you", 4.0), (PI_REF, 2.0)]
    assert said["board"][0]["best"] == pytest.approx((9 - 2) / np.std([1, 2, 3]), 1e-4)
    assert capsys.readouterr().out == "another could not be measured: RuntimeError: its process died\n"


def test_closing_lets_go(session):
    session.close()
    session.close()
    assert session._reality is None and not session.frames
