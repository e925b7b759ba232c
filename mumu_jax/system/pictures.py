"""The way of Matplotlib's figures into files: literal text, no warning about fonts, the same bytes each time."""

import io
import warnings
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.text import Text

from mumu_jax.system.files import replacing
from mumu_jax.system.lines import printable

# Text stays text, in the fonts of whoever opens the picture; ids are not random.
_SVG: Any = {"svg.fonttype": "none", "svg.hashsalt": "mumu_jax"}


def render(figure: Figure, kind: str, **how: Any) -> bytes:
    """Return the figure as a file of this kind, `png` or `svg`; `how` is passed on to `savefig`.

    No text is a formula: a genre may have dollar signs in its name.  What has no glyph in any font is escaped.
    """
    for text in figure.findobj(Text):
        content = text.get_text()  # pyright: ignore[reportAttributeAccessIssue]
        text.set_text("\n".join(map(printable, content.split("\n"))))  # pyright: ignore[reportAttributeAccessIssue]
        text.set_parse_math(False)  # pyright: ignore[reportAttributeAccessIssue]
    file = io.BytesIO()
    with matplotlib.rc_context(_SVG), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a PNG has boxes then
        figure.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else None, **how)
    return file.getvalue()


def write_picture(path: Path, figure: Figure, **how: Any) -> None:
    """Write the figure in the format of the path's suffix."""
    picture = render(figure, path.suffix[1:], **how)
    with replacing(path) as part:
        part.write_bytes(picture)
