"""Names that a folder may have, and that files, tables, pages and terminals are easily confused by."""

from __future__ import annotations

AWKWARD = (
    *("line\nbreak", "carriage\rreturn", "both\r\nof them", "\n", "tab\there", "line\u2028separator"),
    *("paragraph\u2029separator", "next\u0085line", "vertical\x0btab", "form\x0cfeed", "file\x1cseparator"),
    *(
        " leading",
        "trailing ",
        " ",
        "\ttab",
        "no\u00a0break",
        "\u3000wide",
        "\ufeffmark",
        "zero\u200bwidth",
        "\u202eback",
    ),
    *("\x1b[31mred", "\x01", "\x7f", '"quoted"', '"', '"open', "it's", "a,b", "a;b", "=1+1", "+1", "-1", "@x"),
    *("[list]", "{object}", "# note", "<script>alert(1)", "a & b", "&amp;", "&#10;", "$x^2$", "%s", "{0}"),
    *(
        "\\n",
        "\\u0041",
        "\\",
        "猫",
        "кот",
        "חתול",
        "\u00e9 in one",
        "e\u0301 in two",
        "🦆",
        "x" * 120,
        "null",
        "1",
        "*",
    ),
)
