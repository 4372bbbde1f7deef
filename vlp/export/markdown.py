"""Markdown in which what comes from data is text: it cannot become markup or a row."""

import html
import re
from pathlib import Path

import jinja2

_SIGNS = re.compile(r"([\\`*_\[\]#|~$])")
_TEMPLATES = Path(__file__).parent


class Raw(str):
    """Text that is Markdown already."""


def escaped(value: object) -> str:
    """Any value as one line of text; `Raw` as it is."""
    if isinstance(value, Raw):
        return value
    line = " ".join(str(value).split())
    return _SIGNS.sub(r"\\\1", html.escape(line, quote=False))


def fenced(text: str, language: str = "") -> Raw:
    """A block of code, whatever it holds."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Raw(f"{fence}{language}\n{text.strip()}\n{fence}")


def render(template: str, **values: object) -> str:
    """A page from a template beside this file; what is put into it is escaped.

    A name that the template uses and that is not given is an error.
    """
    environment = _environment(finalize=escaped)
    environment.filters["join"] = lambda cells, sign: Raw(sign.join(map(escaped, cells)))
    return environment.get_template(template).render(**values)


def render_code(template: str, **values: object) -> Raw:
    """A piece of Python from a template; values are put in as they are."""
    return Raw(_environment().get_template(f"snippets/{template}.py.j2").render(**values).strip())


def _environment(**options: object) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES, encoding="utf-8"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # of HTML; Markdown has an escape of its own
        **options,  # type: ignore[arg-type]
    )
