"""The templates of the report's pages."""

import pathlib

import jinja2


def template(name):
    """A file of ``templates/``; what is put into it is escaped."""
    folder = pathlib.Path(__file__).parent / "templates"
    loader = jinja2.FileSystemLoader(folder)
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template(name)
