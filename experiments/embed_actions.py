"""The words of an environment's actions as UMT5 embeds them, once, for ``world_model.action_text``.

    python -m experiments.embed_actions --config=experiments/configs/minecraft.py --model=DIR --output=FILE

Writes: --output, a table of one row for each value of each action factor.
Costs: minutes, and the 11 GB of UMT5-XXL, on the disk and in memory; needs the extra ``text``.

The factors are those of the configured environment (prowl_jax/models/dit/action_text.py says which words).
DIR holds the folders ``text_encoder`` and ``tokenizer`` of Wan-AI/Wan2.1-T2V-1.3B-Diffusers, UMT5-XXL as
Wan2.1 uses it, which was never read here (docs/limits.md). A run needs neither torch nor transformers.
"""

import sys

from experiments.converting.action_text import embed
from experiments.run.command_line import Parser, print_result


def main(argv):
    """Embed; returns the exit code."""
    parser = Parser(prog="python -m experiments.embed_actions", description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, metavar="FILE", help="whose environment's actions")
    parser.add_argument("--model", required=True, metavar="DIR", help="with the folders text_encoder and tokenizer")
    parser.add_argument("--output", required=True, metavar="FILE", help="such as action_text.safetensors")
    flags = parser.parse_args(argv)
    return print_result(embed, flags.config, flags.model, flags.output)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
