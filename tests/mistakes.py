"""How every command answers a mistake."""

import pytest


def answer(capsys, main, *argv):
    """What ``main(argv)`` says of a mistake: one line that begins with ``error: ``, alone, and exit code 2."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in argv])
    output = capsys.readouterr()
    assert ended.value.code == 2 and output.out == "" and "Traceback" not in output.err
    assert output.err.startswith("error: ") and output.err.count("\n") == 1 and output.err.endswith("\n")
    return output.err


def begun_run(folder, config):
    """``folder`` as the directory of a run of ``config`` in which phase 1 has saved something and goes on."""
    (folder / "config.json").write_text(config.to_json())
    (folder / "checkpoints" / "world_model" / "4").mkdir(parents=True)
    return folder
