"""Reading processes, started from wherever: a script without a main guard too."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def test_a_plain_script_reads_in_parallel_and_runs_once(tmp_path):
    script = tmp_path / "plain.py"
    script.write_text(
        "import math\n"
        "from prowl_jax.data import pool\n"
        "print('here')\n"
        "with pool.processes(2) as executor:\n"
        "    print(list(pool.in_order(executor, math.sqrt, [(4.0,), (9.0,)], ahead=2)))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("here\n[2.0, 3.0]\n", "")
