"""Self-contained HTML pages, from the templates beside this file."""

from pathlib import Path

import jinja2
from markupsafe import Markup, escape

_TEMPLATES = Path(__file__).parent


def render(template: str, **values: object) -> str:
    """A page; a name that the template uses and that is not given is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES, encoding="utf-8"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["breakable"] = breakable
    return environment.get_template(template).render(**values)


def breakable(text: str) -> Markup:
    """A name whose line may break after its underscores and slashes."""
    marked = escape(text)
    for sign in "_/":
        marked = marked.replace(sign, Markup(f"{sign}<wbr>"))
    return marked
