"""Text that a terminal shows and does not obey."""

from unicodedata import category


def escaped(text: str) -> str:
    """`text` as a terminal shows it: what a terminal would obey is written out, as in ``\\x1b``.

    Control characters, line ends, marks that turn the writing, and bytes of names that are not UTF-8.
    """
    if text.isascii() and text.isprintable():
        return text
    obeyed = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return "".join(c.encode("unicode_escape").decode() if category(c) in obeyed else c for c in text)
