"""What MkDocs does to the pages of the site: the table of commands comes in, links out of docs/ become words."""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

COMMANDS = "<!-- commands -->"
_OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./[^)]*\)")


def on_page_markdown(markdown, page, **_):
    """The text of a page as the site shows it; a file of the code is no page of it."""
    from experiments import __main__ as overview

    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, overview.markdown(overview.commands()))
    return markdown if "/" in page.file.src_uri else _OUTSIDE.sub(r"\1", markdown)
