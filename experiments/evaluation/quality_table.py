"""The figures of ``dream_quality.json`` in words: as text for the terminal and for the report."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Column:
    """A figure of a predicted frame: its ``key`` in the file, how it is written, its heading, short and in words."""

    key: str
    form: str
    short: str
    words: str


ERROR = "floor_relative_error"
COLUMNS = (
    Column("psnr_db", "6.2f", "PSNR", "PSNR, dB"),
    Column("psnr_db_of_repeat", "6.2f", "last", "last frame's"),
    Column("psnr_db_of_decoded", "7.2f", "floor", "floor's"),
    Column("sharpness_over_real", "6.2f", "sharp", "sharpness over real"),
    Column("sharpness_over_decoded", "6.2f", "/dec", "over decoded"),
    Column("exchanged_over_true", "6.2f", "exch", "exchanged over true"),
    Column("action_f1", "6.2f", "F1", "actions read, F1"),
    Column("energy_score_over_repeat", "6.2f", "ES", "energy score over repeating"),
    Column("spread_corrected_over_repeat", "6.2f", "R_c", "corrected over repeating"),
)
NOTE = (
    "over floor: error, 0 at what encode and decode lose, 1 at repeating the last frame.",
    "PSNR: of the dream, of the last frame repeated, of the floor. sharp: gradient",
    "energy over real frames', /dec over decoded ones'. exch: error under another",
    "clip's actions over that under the true ones. F1: actions read off the dream.",
    "ES, R_c: energy score and spread-corrected squared error over repeating's.",
)
FAULTS = ("frozen", "drifted", "washed_out")


def table(result):
    """The result as text."""
    heads = "".join(f"{column.short:>{_width(column)}}" for column in COLUMNS)
    lines = [head(result), "", f"frame  {'over floor (95 %)':<18}{heads}"]
    for frame, row in result["frames"].items():
        cells = "".join(f"{cell(row, column):>{_width(column)}}" for column in COLUMNS)
        lines.append(f"{frame:>5}  {interval(row, ERROR):<18}{cells}")
    return "\n".join([*lines, "", *NOTE, "", *sentences(result)])


def head(result):
    """Of what and of how many clips."""
    state = "" if result["finished"] else ", still training"
    return (
        f"{result['name']}: step {result['step']} of {result['steps']}{state}; {result['clips']} held-out clips "
        f"of {result['task']}"
    )


def sentences(result):
    """What is known of all of the clips, a list of sentences."""
    found = []
    if result.get("retrieval_of_16_at_20") is not None:
        found.append(
            f"Frame 20 finds its own of 16 real frames in {interval(result, 'retrieval_of_16_at_20')} of the clips; "
            f"the last frame seen in {result['retrieval_of_16_at_20_of_repeat']:.2f}, chance in 0.06."
        )
    if result.get("share_stable_at_100") is not None:
        faults = ", ".join(f"{name.replace('_', ' ')} {result[f'share_{name}_at_100']:.2f}" for name in FAULTS)
        found.append(
            f"Stable at frame 100: {interval(result, 'share_stable_at_100')} ({faults}; of real clips "
            f"{result['share_stable_at_100_of_real']:.2f})."
        )
    return found


def interval(row, name):
    """``0.51 (0.49, 0.53)`` of a figure of a row, or a dash."""
    if row.get(name) is None:
        return "-"
    return "{:.2f} ({:.2f}, {:.2f})".format(*(row[name + end] for end in ("", "_low", "_high")))


def cell(row, column):
    """A figure of a row in its form, or a dash."""
    value = row.get(column.key)
    return "-" if value is None else format(value, column.form).strip()


def _width(column):
    return int(column.form.partition(".")[0])
