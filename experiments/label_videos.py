"""Videos of Minecraft without actions: VPT's inverse dynamics model reads them off the frames, as a .jsonl beside each.

    python -m experiments.label_videos --source=DIR --weights=4x_idm.safetensors

Writes: a .jsonl beside every .mp4 that has none, for ``import_recordings`` and runs on recordings.
Costs: the 4x model's 0.5 B parameters over every frame twice: a GPU, or patience.

SOURCE is a folder of .mp4 files of 640x360 pixels and 20 frames a second, as the recordings are. FILE is what
``python -m experiments.convert vpt`` made of OpenAI's ``4x_idm``. Videos that cannot be read are named and left out;
those that have a .jsonl keep it, so that an interrupted call goes on. The labels are guesses: VPT's paper gives 90.6 %
of keys and an R^2 of 0.97 for the mouse, on its contractors' videos. What is typed into an open screen is not seen.
The published weights were never loaded here (docs/limits.md).
"""

import sys

from experiments.run.command_line import Parser, print_result


def main(argv):
    """Label; returns the exit code."""
    parser = Parser("python -m experiments.label_videos", __doc__)
    parser.add_argument("--source", required=True, metavar="DIR", help="a folder of .mp4 files")
    parser.add_argument("--weights", required=True, metavar="FILE", help="such as 4x_idm.safetensors")
    flags = parser.parse_args(argv)

    # JAX is imported after the command line has been checked: a mistake is answered at once.
    def label(source, weights):
        from experiments.converting.video_actions import label_videos

        return label_videos(source, weights)

    return print_result(label, flags.source, flags.weights)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
