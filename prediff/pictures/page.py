"""A self-contained HTML page: its style and its pictures are inside it, and it runs no script."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from html import escape

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; max-width: 1180px;
  margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { margin-top: 2.4rem; font-size: 1.25rem;
  border-bottom: 1px solid #ddd; padding-bottom: .2rem; } h3 { font-size: 1.02rem; }
.lead { font-size: 1.05rem; } .note, figcaption { color: #555; font-size: .88rem; }
.banner { background: #7a0019; color: #fff; font-size: 1.5rem; font-weight: 700;
  padding: .5rem 1rem; letter-spacing: .03em; }
.banner small { display: block; font-size: .9rem; font-weight: 400; }
.warning { border-left: 4px solid #b06000; padding: .2rem .8rem; background: #fff6e8; }
nav { font-size: .92rem; margin: 1rem 0; } nav a { margin-right: 1.1rem; white-space: nowrap; }
a { color: #0b57a4; }
.wide { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .25rem .75rem; text-align: right; border-bottom: 1px solid #eee; }
th:first-child, td:first-child, .pairs td:nth-child(2), .pairs th:nth-child(2)
  { text-align: left; } thead th { border-bottom: 2px solid #999; }
td.best { font-weight: 700; } .interval { color: #777; font-size: .8rem; font-weight: 400; }
.facts td:nth-child(2) { text-align: left; overflow-wrap: anywhere; }
.card td, .card th { padding: .15rem .45rem; text-align: center; }
.card td { border: 1px solid #fff; min-width: 2.1rem; }
.card td:first-child, .card th:first-child { text-align: left; }
.card td:first-child { white-space: nowrap; }
.won { background: #1f78b4; color: #fff; } .ahead { background: #cfe4f3; }
.lost { background: #b2182b; color: #fff; } .behind { background: #f7d6cf; }
.even { background: #f0f0f0; color: #666; }
figure { margin: 1.2rem 0; overflow-x: auto; } img { max-width: 100%; height: auto; }
@media (max-width: 600px) { body { margin: .6rem auto; padding: 0 .6rem; font-size: 14px; }
  th, td { padding: .2rem .4rem; } h1 { font-size: 1.35rem; } .banner { font-size: 1.15rem; } }
@media print { body { margin: 0; max-width: none; font-size: 10pt; } nav { display: none; }
  h2, h3 { break-after: avoid; } figure, tr, .banner { break-inside: avoid; }
  .wide, figure { overflow: visible; } table { font-size: 8pt; } th, td { padding: .1rem .35rem; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def html_page(title: str, body: str) -> str:
    """Return a page around a body."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n{body}\n"
        "</body></html>\n"
    )


def heading(text: str, anchor: str) -> str:
    """Return a heading that the contents can lead to."""
    return f'<h2 id="{escape(anchor)}">{escape(text)}</h2>'


def contents(entries: Mapping[str, str]) -> str:
    """Return links to headings: texts by anchor."""
    links = (f'<a href="#{escape(a)}">{escape(text)}</a>' for a, text in entries.items())
    return f"<nav>{' '.join(links)}</nav>"


def wide(table: str) -> str:
    """Return a table that scrolls by itself on a narrow screen, instead of the page."""
    return f"<div class=wide>{table}</div>"


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Return a table of names and values."""
    cells = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows
    )
    return wide(f"<table class=facts>{cells}</table>")


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
