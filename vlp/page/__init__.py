"""Self-contained HTML pages: one look, pictures and charts inside, nothing loaded from anywhere."""

import base64
import io
from pathlib import Path

import jinja2
from markupsafe import Markup, escape
from PIL import Image

_SHARED = Path(__file__).parent


def render(template: Path, **values: object) -> str:
    """A page from a template that extends `page.html.j2`.

    A name that the template uses and that is not given is an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, _SHARED], encoding="utf-8"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["breakable"] = breakable
    return environment.get_template(template.name).render(**values)


def breakable(text: str) -> Markup:
    """A name whose line may break after its underscores and slashes."""
    marked = escape(text)
    for sign in "_/":
        marked = marked.replace(sign, Markup(f"{sign}<wbr>"))
    return marked


def picture_uri(image: Image.Image, side: int = 120) -> str:
    """A picture as a data URI, made at most `side` pixels large (in place)."""
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
