"""A self-contained HTML page: its style and its pictures are inside it, and it runs no script."""

from base64 import b64encode
from html import escape

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1b1b; max-width: 1180px; margin: 2rem auto;
  padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { margin-top: 2.4rem; font-size: 1.25rem;
  border-bottom: 1px solid #ddd; padding-bottom: .2rem; } h3 { font-size: 1.02rem; }
.lead { font-size: 1.05rem; } .note, figcaption { color: #555; font-size: .88rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .25rem .75rem; text-align: right; border-bottom: 1px solid #eee; }
th:first-child, td:first-child, .pairs td:nth-child(2), .pairs th:nth-child(2)
  { text-align: left; } thead th { border-bottom: 2px solid #999; }
td.best { font-weight: 700; } .interval { color: #777; font-size: .8rem; font-weight: 400; }
figure { margin: 1.2rem 0; overflow-x: auto; } img { max-width: 100%; height: auto; }
"""


def html_page(title: str, body: str) -> str:
    """Return a page around a body."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n{body}\n"
        "</body></html>\n"
    )


def inline_picture(content: bytes, kind: str, title: str, caption: str) -> str:
    """Return a figure with a picture inside; nothing for an empty picture.

    Args:
        content: of a picture file.
        kind: ``png`` or ``gif``.
        title: for those who do not see it.
        caption: below it.
    """
    if not content:
        return ""
    source = f"data:image/{kind};base64,{b64encode(content).decode()}"
    return (
        f'<figure><img alt="{escape(title)}" src="{source}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
