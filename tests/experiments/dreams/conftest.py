"""Lets worker processes import this folder's toy environment by name: they get our sys.path."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
