"""Text in pages: whatever a file or a label is called, it is shown and never obeyed."""

import html

from windvane.terminal_text import escaped


def plain(text: object) -> str:
    """A text as HTML that shows it, quotes included; control characters but line ends are written out."""
    return html.escape("\n".join(escaped(line) for line in str(text).split("\n")), quote=True)
