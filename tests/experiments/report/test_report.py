"""The page stands alone, survives missing figures, says what is so, and its pictures are in step."""

import base64
import copy
import html.parser
import io
import json
import math
import re

import numpy as np
import pytest
from PIL import Image

from experiments.report import page, tables
from experiments.report.headline import headline
from experiments.report.page import Gallery, Reel, write_report
from experiments.report.tables import text_table

EVALUATION = {
    "checks": {
        "autoencoder_psnr_db": 26.125,
        "regret_over_repeat_last_frame": 0.91,
        "regret_exchanged_actions_over_true": 1.12,
        "minutes": 13.0,
        "peak_memory_gb": None,
    },
    "targets": {
        "autoencoder_psnr_db": 25.0,
        "regret_over_repeat_last_frame": 0.85,
        "regret_exchanged_actions_over_true": 1.1,
        "camera_speed_over_reference": 3.0,
        "minutes": 15.0,
    },
    "arms": {
        arm: {
            "held_out/explore": {
                "clips": 64,
                "latent_regret": {"all": regret, "hardest_tertile": 0.9, "hardest_decile": None},
                "psnr": {"all": psnr, "hardest_tertile": 19.0, "hardest_decile": 18.0},
            }
        }
        for arm, regret, psnr in (("frozen_reference", 0.75, 21.5), ("prowl", 0.7, 20.5))
    },
    "comparisons": [
        {
            "arm": "prowl",
            "against": "frozen_reference",
            "set": "held_out/explore",
            "metric": metric,
            "subset": "all",
            "relative": -0.03,
            "low": -0.05,
            "high": high,
        }
        for metric, high in (("latent_regret", -0.01), ("psnr", -0.01), ("afs_epe", 0.02))
    ],
    "baselines": {
        "repeat_last_frame": {"held_out/explore": 0.875},
        "real_frames": {"held_out/explore": {"psnr": 99.0}, "elsewhere": {}},
    },
    "budget": {"cycles": 12, "seconds": {"collect": 1.5}},
}
METRICS = [
    {"stage": "world_model", "arm": None, "step": s, "loss": 1 / (s + 1), "x": None} for s in range(500)
]
METRICS += [
    {
        "stage": "phase2",
        "arm": arm,
        "step": c,
        "kl_to_reference": 0.1 * c,
        "camera_speed_over_reference": None,
    }
    for arm in ("prowl", "frozen_reference")
    for c in range(4)
]


def reel(frames=6, context=2, names=("prowl",)):
    shade = np.arange(frames, dtype=np.uint8)[:, None, None, None] * 40
    real = np.broadcast_to(shade, (frames, 16, 16, 3)).copy()
    actions = ["forward", "forward", "", "yaw -5.8", "yaw -5.8", "left, yaw +1.2"][:frames]
    return Reel(real, dict.fromkeys(names, 255 - real), context, actions, {"latent_regret": 0.5}, "A <corner>.")


def written(tmp_path, **changes):
    values = {
        "title": "A run",
        "config": {"seed": 0, "world_model": {"steps": 7, "shape": (8, 8)}},
        "evaluation": EVALUATION,
        "metrics": METRICS,
        "galleries": [Gallery("Worst clips", "By regret.", [reel()])],
        "command": "python -m x --config=y",
    } | changes
    path = tmp_path / "report" / "index.html"
    write_report(path, **values)
    assert [p.name for p in path.parent.iterdir()] == ["index.html"]
    return path.read_text(encoding="utf-8")


class Outline(html.parser.HTMLParser):
    """Tags balance; headings and links are collected."""

    VOID = ("meta", "img", "input", "link", "path", "use")

    def __init__(self, page):
        super().__init__()
        self.open, self.headings, self.sources, self.links = [], [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)
        self.sources += [v for k, v in attributes if k in ("src", "srcset", "href", "xlink:href") and tag != "a"]
        self.links += [v for k, v in attributes if k == "href" and tag == "a"]

    def handle_startendtag(self, tag, attributes):
        self.sources += [v for k, v in attributes if k in ("src", "srcset", "href", "xlink:href")]

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


def test_the_page_stands_alone_and_is_in_order(tmp_path):
    page = written(tmp_path)
    outline = Outline(page)
    assert outline.headings == [
        "A run",
        "What came of it",
        "Checks",
        "Worst clips",
        "Results",
        "Training",
        "The hunt, cycle by cycle",
        "How to make this again",
    ]
    assert outline.sources and all(s.startswith(("data:image/webp;base64,", "#")) for s in outline.sources)
    assert page.count("<script") == 1 and "<script>" in page and "@import" not in page and outline.links == []
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    assert "python -m x --config=y" in page and "world_model.steps" in page
    assert len(page) < 300_000


@pytest.mark.parametrize(
    "evaluation",
    [
        {},
        {"checks": None, "arms": None, "comparisons": None, "baselines": None, "budget": None},
        {"arms": {"prowl": None, "other": {"a": None, "b": {"clips": None, "psnr": None, "ssim": {}}}}},
        {"checks": {"minutes": math.nan, "new_figure": 3}, "comparisons": [{}, {"low": 1, "high": None}]},
        {
            "arms": {"prowl": {"a": {"latent_regret": {"all": None}}}},
            "baselines": {"x": None, "y": {"a": 1.0}},
        },
    ],
)
def test_missing_figures_are_dashes(tmp_path, evaluation):
    page = written(tmp_path, evaluation=evaluation, metrics=[], galleries=[], config={})
    Outline(page)
    assert tables.MISSING in page
    assert "None" not in page and "nan" not in page
    assert all(len(line) <= 80 for line in text_table(evaluation).splitlines())


def test_words_from_outside_are_escaped(tmp_path):
    attack = "<script>alert(1)</script>"
    evaluation = copy.deepcopy(EVALUATION)
    evaluation["arms"][attack] = {attack: {"clips": 1, attack: {"all": 1.0}}}
    metrics = [{"stage": "phase2", "arm": attack, "step": 0, "entropy": 1.0}]
    gallery = Gallery(
        attack,
        attack,
        [
            Reel(
                *[getattr(reel(), f) for f in ("real", "predicted", "context")],
                [attack] * 6,
                {attack: attack},
                attack,
            )
        ],
    )
    page = written(
        tmp_path,
        title=attack,
        config={attack: attack},
        evaluation=evaluation,
        metrics=metrics,
        galleries=[gallery],
    )
    Outline(page)
    assert attack not in page and "&lt;script&gt;" in page and page.count("<script") == 1


def test_checks_are_held_against_the_targets_of_the_configuration():
    rows = {r["words"]: r for r in tables.check_rows(EVALUATION)}
    assert [r["met"] for r in rows.values()] == [True, False, True, True, None]
    assert [r["target"] for r in rows.values()] == [">= 25", "<= 0.85", ">= 1.1", "<= 15", ""]
    assert rows["Autoencoder, PSNR"]["value"] == "26.12"
    assert rows["Peak memory"]["value"] == tables.MISSING
    on_target = {"autoencoder_psnr_db": 25, "minutes": 15.0, "regret_over_repeat_last_frame": 0.85}
    assert [r["met"] for r in tables.check_rows(EVALUATION | {"checks": on_target})][:2] == [True, True]
    sooner = tables.check_rows(EVALUATION | {"targets": {"minutes": 10.0}})
    assert [(r["target"], r["met"]) for r in sooner if r["target"]] == [("<= 10", False)]


@pytest.mark.parametrize("targets", [None, {}, True, False])
def test_without_targets_of_its_own_nothing_is_met_or_missed(targets):
    """True and False are of files from before targets were the configuration's."""
    rows = tables.check_rows(EVALUATION | {"targets": targets})
    assert {(r["target"], r["met"]) for r in rows} == {("", None)}
    assert text_table(EVALUATION | {"targets": targets}).splitlines()[0] == "Checks"


def test_every_arm_has_its_rows_and_is_held_against_the_same_targets():
    figures = {
        "unanchored": {"kl_to_reference": 0.5, "camera_speed_over_reference": 4.0},
        "focused": {"kl_to_reference": None, "camera_speed_over_reference": 1.5},
        "best_of_n": {"regret_of_best": 0.25},
    }
    rows = {r["words"]: (r["value"], r["met"]) for r in tables.check_rows(EVALUATION | {"arm_checks": figures})}
    assert list(rows.items())[5:] == [
        ("unanchored: KL to the reference, last cycle", ("0.5000", None)),
        ("unanchored: camera speed over the reference's", ("4.000", False)),
        ("focused: KL to the reference, last cycle", (tables.MISSING, None)),
        ("focused: camera speed over the reference's", ("1.500", True)),
        ("best of n: regret of best", ("0.2500", None)),
    ]


def test_the_curves_show_the_alarm_and_the_target_of_the_configuration(tmp_path):
    metrics = [{"stage": "phase2", "arm": "prowl", "step": c, "camera_speed_over_reference": 1.0} for c in range(3)]
    metrics += [{"stage": "autoencoder", "arm": None, "step": s, "psnr": 20.0 + s} for s in range(3)]

    def levels(config, evaluation):
        page = written(tmp_path, config=config, evaluation=evaluation, metrics=metrics)
        return re.findall(r"alarm above [\d.]+", page), page.count("stroke: var(--alarm)")

    assert levels({"adversary": {"camera_alarm": 1.75}}, EVALUATION) == (["alarm above 1.75"], 2)
    assert levels({"adversary": {"camera_alarm": 1.75}}, {}) == (["alarm above 1.75"], 1)
    assert levels({}, {}) == ([], 0)


def test_the_foot_says_where_the_figures_come_from_or_that_it_is_not_known(tmp_path):
    start = {
        "commit": "0123456789abcdef", "dirty": True, "versions": {"jax": "0.10.2"},
        "devices": {"kind": "<cpu>", "count": 1}, "machine": {"cores": 2, "memory_gb": 8.0, "cpu": "A"},
    }  # fmt: skip
    page = written(tmp_path, evaluation=EVALUATION | {"provenance": {"config": {}, "starts": [start]}})
    foot = page[page.index("<footer") : page.index("</footer>")]
    assert "Commit 0123456789ab, with changes that are not committed; jax 0.10.2; 1 x &lt;cpu&gt;; 2 cores" in foot
    assert "Not noted: these figures are older than the notes" in written(tmp_path)


def test_comparisons_say_better_only_in_the_metrics_direction_and_off_zero():
    readings = {r["metric"]: r["reading"] for r in tables.comparison_rows(EVALUATION)}
    assert readings == {"latent regret": "better", "PSNR, dB": "worse", "AFS-EPE, px": "interval includes 0"}


@pytest.mark.parametrize("low, high, said", [(-0.002, -0.0006, "better"), (-0.002, -0.0004, "interval includes 0")])
def test_what_is_shown_as_0_is_neither_better_nor_worse(low, high, said):
    entry = EVALUATION["comparisons"][0] | {"metric": "latent_regret", "low": low, "high": high}
    assert tables.comparison_rows({"comparisons": [entry]})[0]["reading"] == said


def test_the_page_begins_with_the_differences_of_the_first_two_arms(tmp_path):
    found = headline(EVALUATION)
    assert found["pair"] == "prowl against frozen reference"
    assert (found["better"], found["worse"], found["even"]) == (1, 0, 1)
    (regret, (one,)), (afs, (other,)) = found["groups"]
    assert (regret, afs) == ("latent regret", "AFS-EPE, px") and one["reading"] == "better"
    # All lie between -5 and +2 %: 0 at 5/7 of the way.
    assert one["bar"] == pytest.approx({"left": 0, "width": 400 / 7, "point": 200 / 7, "zero": 500 / 7})
    assert other["bar"]["width"] == pytest.approx(100)
    text = html.unescape(re.sub(r"<[^>]*>", "", written(tmp_path)))
    assert "over the same clips of each set: 1 of 2 differences are better, 0 worse" in text
    assert "3 of 4 targets are met; missed: World model's regret over repeating the last frame" in text
    assert headline({}) is None and headline({"arms": {"phase1": {}}, "comparisons": [{}]}) is None
    no_interval = {**EVALUATION["comparisons"][0], "low": None}
    assert headline(EVALUATION | {"comparisons": [no_interval]})["groups"][0][1][0]["bar"] is None


@pytest.mark.parametrize("control, pair", [(True, "best of n against frozen reference"), (False, "best of n against")])
def test_the_page_begins_with_the_method_of_its_run_whichever_that_is(control, pair):
    evaluation = json.loads(json.dumps(EVALUATION).replace('"prowl"', '"best_of_n"'))
    if not control:  # compared with phase 1 alone
        evaluation = json.loads(json.dumps(evaluation).replace('"frozen_reference"', '"phase1"'))
    assert headline(evaluation)["pair"].startswith(pair)


def test_the_page_tells_how_to_explore_its_run(tmp_path):
    text = written(tmp_path, explore="python -m experiments.explore --workdir='my runs'")
    assert "--workdir=&#39;my runs&#39;" in text
    assert Outline(text).links == [f"http://127.0.0.1:{page.EXPLORED_AT}/"]


def test_the_best_arm_is_marked_by_direction_and_prowl_comes_first():
    (table,) = tables.set_tables(EVALUATION)
    assert table["columns"] == ["prowl", "frozen reference", "repeat last frame", "real frames"]
    rows = {r["key"]: r["cells"] for r in table["rows"]}
    assert rows["latent_regret", "all"] == [("0.7000", True), ("0.7500", False), ("0.8750", False), ("", False)]
    assert rows["psnr", "all"][2:] == [("", False), ("99.00", False)]
    assert [best for _, best in rows["psnr", "all"]] == [False, True, False, False]
    assert [best for _, best in rows["latent_regret", "hardest_tertile"]] == [False] * 4
    assert ("latent_regret", "hardest_decile") not in rows


def full_evaluation(arms=("phase1", "frozen_reference", "prowl")):
    """Seven sets as in a real run, with figures that tell arms, sets and subsets apart."""
    sets = ["in_distribution", "held_out/look_around", "held_out/gather", "held_out/freedoom"]
    sets += ["buffer/frozen_reference", "buffer/prowl", "long_rollout"]

    def figures(i, j, base):
        return {s: base + i / 10 + j / 100 + k / 1000 for k, s in enumerate(tables.SUBSETS)}

    return EVALUATION | {
        "arms": {
            arm: {
                name: {"clips": 8, "latent_regret": figures(i, j, 0), "afs_epe": figures(i, j, 2)}
                for j, name in enumerate(sets)
            }
            for i, arm in enumerate(arms)
        },
        "comparisons": [
            {"arm": "prowl", "against": against, "set": name, "metric": metric, "subset": subset}
            | {"relative": -0.0312 - k / 100, "low": -0.152, "high": 0.0098}
            for against in ("phase1", "frozen_reference")
            for name in sets
            for metric in ("latent_regret", "afs_epe")
            for k, subset in enumerate(tables.SUBSETS)
        ],
    }


def test_the_terminal_shows_one_short_line_a_set():
    lines = text_table(full_evaluation()).splitlines()
    assert len(lines) <= 30 and all(len(line) <= 80 for line in lines)
    everywhere, hardest = [line.split() for line in lines if line.startswith("held_out/look_around")]
    m = tables.MINUS
    assert everywhere[1:4] == ["0.010", "0.110", "0.210"] and everywhere[-3:] == ["2.010", "2.110", "2.210"]
    assert " ".join(everywhere[4:-3]) == f"{m}3.1 ({m}15.2, +1.0)"
    assert hardest[1:4] == ["0.012", "0.112", "0.212"] and hardest[4] == f"{m}5.1"
    (regret,) = [line for line in lines if "over repeating the last frame" in line]
    assert regret.endswith("MISSED")


@pytest.mark.parametrize(
    "arms, heads",
    [
        (("phase1",), "ph. 1 ph. 1"),
        (("phase1", "prowl"), "ph. 1 prowl prowl vs ph. 1, % ph. 1 prowl"),
        (("phase1", "frozen_reference", "prowl", "d"), "ph. 1 froz. prowl prowl vs froz., % ph. 1 froz. prowl"),
    ],
)
def test_the_terminal_shows_the_arms_there_are(arms, heads):
    lines = text_table(full_evaluation(arms)).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert [" ".join(line.split()) for line in lines].count(heads) == 2


def test_the_terminal_shows_a_dash_for_a_missing_figure():
    lines = text_table(EVALUATION).splitlines()
    (everywhere, _) = [line.split() for line in lines if line.startswith("held_out/explore")]
    m, dash = tables.MINUS, tables.MISSING
    assert everywhere[1:] == ["0.750", "0.700", f"{m}3.0", f"({m}5.0,", f"{m}1.0)", dash, dash]


def reels_of(page):
    """The reels of a page: what their script knows, and the sheet of their frames."""
    uri = r'<img class="sheet" src="data:image/webp;base64,([^"]*)"'
    for about, text in re.findall(r"data-reel='([^']*)'>\s*" + uri, page):
        sheet = Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")
        yield json.loads(html.unescape(about)), np.asarray(sheet).astype(int)


@pytest.mark.parametrize("times", [1, 30])
def test_every_frame_of_every_panel_has_its_place_on_the_sheet(tmp_path, times):
    """Small frames are enlarged, so that colours keep their resolution; of large ones a smaller picture is kept."""
    small = reel(6, 2, ("prowl", "frozen_reference"))
    real = small.real.repeat(times, axis=1).repeat(times, axis=2)
    predicted = {"prowl": 255 - real, "frozen_reference": real // 2}
    shown = [Reel(real, predicted, 2, small.actions, {})]
    ((about, sheet),) = reels_of(written(tmp_path, galleries=[Gallery("g", "", shown)]))
    (width, height), columns = about["size"], about["columns"]
    assert (width, height) == {1: (32, 32), 30: (240, 240)}[times] and about["context"] == 2
    assert sheet.shape == (-(-6 // columns) * 3 * height, columns * width, 3)
    for t in range(6):
        for panel, frame in enumerate((real[t], *(p[t] for p in predicted.values()))):
            top, left = (t // columns * 3 + panel) * height, t % columns * width
            place = sheet[top : top + height, left : left + width]
            assert np.abs(place - int(frame[0, 0, 0])).max() <= 8
    minus = tables.MINUS
    assert about["actions"] == ["forward", "forward", "nothing", f"yaw {minus}5.8", f"yaw {minus}5.8", "left, yaw +1.2"]


def test_actions_are_shown_as_runs(tmp_path):
    assert page.run_lengths(["forward", "forward", "nothing"]) == [("forward", 2), ("nothing", 1)]
    text = re.sub(r"<[^>]*>", "", written(tmp_path))
    assert f"forward ×2 · nothing · yaw {tables.MINUS}5.8 ×2 · left, yaw +1.2" in text


def test_a_reel_that_does_not_fit_together_is_refused(tmp_path):
    good = reel()
    for bad in (
        Reel(good.real, {"prowl": good.real[:5]}, 2, good.actions, {}),
        Reel(good.real.astype(np.float32), {}, 2, good.actions, {}),
        Reel(good.real, {}, 2, good.actions[:5], {}),
    ):
        with pytest.raises(ValueError, match="reel"):
            written(tmp_path, galleries=[Gallery("g", "", [bad])])


def test_curves_show_what_there_is_and_one_line_an_arm(tmp_path):
    page = written(tmp_path)
    figures = re.findall(r"<figcaption>([^<]*?) ?(?:<span.*?)?</figcaption>(<svg.*?</svg>)", page, re.DOTALL)
    assert [title for title, _ in figures] == ["World model: loss", "KL to the reference"]
    loss, kl = (svg for _, svg in figures)
    assert loss.count("stroke: var(--series-1)") == 1 and "var(--series-2)" not in loss
    assert "var(--series-1)" in kl and "var(--series-2)" in kl and "var(--series-3)" not in kl
    assert len(loss) < 20_000


@pytest.mark.parametrize(
    "value, text",
    [
        (26.125, "26.12"),
        (0.0831234, "0.08312"),
        (-1.5, "\N{MINUS SIGN}1.500"),
        (13.0, "13.00"),
        (60000, "60 000"),
        (0.0, "0"),
        (1.5e-7, "1.50e-07"),
        (np.float32(2.5), "2.500"),
        (123456.7, "123457"),
        (None, tables.MISSING),
        (math.inf, tables.MISSING),
        ("words", "words"),
    ],
)
def test_numbers(value, text):
    assert tables.number(value) == text
