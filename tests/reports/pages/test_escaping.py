"""Whatever a text holds, in every format it stands as a text: no tag, no link, no row and no formula comes of it."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_module.support.text import visible
from reports.pages import html, latex, markdown
from reports.pages.csv import csv_table
from reports.pages.document import (
    Code,
    Column,
    Commands,
    Figure,
    Folded,
    Inline,
    Items,
    Link,
    Report,
    ReportLink,
    Section,
    Strong,
    Table,
    Text,
)
from reports.pages.figure import figure_svg
from reports.pages.svg import Panel, RowPanel, linear

ODD = [
    *(
        '[x](https://a"/onmouseover="alert(1))',
        "[y](javascript:z)",
        "<script>alert(1)</script>",
        "<!--",
        "&",
        "&lt;",
    ),
    *(
        "]:",
        "![",
        "]",
        "(",
        ")",
        "`",
        "``",
        "```",
        "|",
        "\\",
        "\\|",
        "*",
        "**",
        "_",
        "~~",
        "$x$",
        "#",
        "-",
        "1.",
        ">",
    ),
    *(
        "=",
        "+",
        "%",
        "^",
        "{",
        "}",
        "'",
        '"',
        "--",
        "@a",
        "=cmd|'/C'!A0",
        "-1.5",
        "\x1b[2J",
        "\x00",
        "\x85",
        "\u202e",
    ),
    *("\ud800", "\uffff", "\u2028", "é", "中", "a", " ", "\n", "\r", "\t"),
]
texts = st.lists(st.sampled_from(ODD), max_size=7).map("".join) | st.text(max_size=9)
fuzzed = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),  # a busy machine is no failure
)

PAGE_TAGS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "h1",
        "h2",
        "p",
        "section",
        "ul",
        "li",
        "pre",
        "code",
    ),
    *(
        "strong",
        "a",
        "figure",
        "figcaption",
        "div",
        "span",
        "svg",
        "g",
        "path",
        "text",
        "circle",
        "table",
        "thead",
    ),
    *("tbody", "tr", "th", "td", "script", "details", "summary"),
}
ATTRIBUTES = {
    *(
        "lang",
        "charset",
        "name",
        "content",
        "class",
        "href",
        "viewbox",
        "width",
        "height",
        "role",
        "aria-label",
        "id",
        "tabindex",
        "data-label",
        "preserveaspectratio",
    ),
    *("aria-hidden", "x", "y", "d", "cx", "cy", "r", "style", "transform", "data-x", "data-y", "data-names"),
}


def table(a: str, b: str, url: str) -> Table:
    columns = (Column(f"{a} of b", left=True), Column(b), Column("link", left=True))
    rows: list[list[Inline]] = [
        [a, Code(b), Link(a, url)],
        [(b, Code(a), b), Strong(a), ReportLink(a, "other")],
    ]
    return Table("odd", f"Caption {a}.", columns, rows, note=b, cards=True)


def figure(a: str, b: str) -> Figure:
    panel = Panel(a, linear(b, 0, 1), linear(a, 0, 1))
    panel.marker(99, 0.5, 1, a)
    panel.cross(99, 1, b)
    panel.rule(0.5, b)
    panel.label(99, 0.5, a)
    panel.key(0, b)
    rows = RowPanel(b, linear(a, 0, 1), [a, b])
    return Figure("odd", f"Caption {a}", (panel.svg(), rows.svg()), ((b, "<g/>"),))


def report(a: str, b: str, url: str) -> Report:
    paragraphs = (Text(a), Text(("so ", b, Code(a), Link(b, url))), Text(b, "warning"), Items((a, b)))
    blocks = (*paragraphs, Folded("More", (Commands((a, b)),)), table(a, b, url), figure(a, b))
    return Report(
        "odd", f"Is it {a}?", b, True, (Section(b, blocks), Section(a or "S", (Text(b),), folded=True))
    )


class Parsed(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.others: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    handle_pi = handle_comment


@fuzzed
@given(texts, texts, texts)
def test_a_page_has_the_tags_of_the_renderer_alone(a: str, b: str, url: str) -> None:
    plainly = Parsed(html.html(report("a", "b", "https://host/run")))
    for address, links in (("https://host/" + url, 4), (url, 1)):
        parsed = Parsed(html.html(report(a, b, address)))
        assert not parsed.others
        for tag, attributes in parsed.tags:
            assert tag in PAGE_TAGS
            assert set(attributes) <= ATTRIBUTES
            assert re.match(r"https://host/|other/report\.html$", attributes.get("href") or "https://host/")
        count = [sum(tag == "a" for tag, _ in page.tags) for page in (plainly, parsed)]
        assert count[0] == 3
        assert count[1] in ((3,) if links == 4 else (1,))


@fuzzed
@given(texts, texts)
def test_a_figure_is_well_formed_and_holds_the_text(a: str, b: str) -> None:
    tree = ElementTree.fromstring(figure_svg(figure(a, b)))
    assert {element.tag.rpartition("}")[2] for element in tree.iter()} <= PAGE_TAGS | {"rect"}
    assert tree[0].text == f"Caption {visible(a)}"


def without_code(text: str) -> str:
    """Markdown without what stands between runs of as many backticks."""
    return re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", text, flags=re.DOTALL)


@fuzzed
@given(texts, texts, texts)
def test_markdown_has_no_tag_and_no_link_of_a_text(a: str, b: str, url: str) -> None:
    text = markdown.markdown(report(a, b, "https://host/" + url))
    rest = without_code(text)
    folded = ["<details>", "<summary>", "</summary>", "</details>"]
    assert re.findall(r"<[A-Za-z/!?][^>]*>?", rest) == folded
    assert set(re.findall(r"&#?\w+;", rest)) <= {"&lt;", "&amp;", "&#96;"}
    targets = re.findall(r"\]\(([^\s)]*)\)", rest)
    kinds = ["https://host/"] * 2 + ["other/report.md", "figures/odd.svg"]
    assert [target[: len(kind)] for target, kind in zip(targets, kinds, strict=True)] == kinds
    made = next(block for block in text.split("\n\n") if "\n|:--" in block)
    for line in made.splitlines():
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 4, line
    assert len(made.splitlines()) == 4


@fuzzed
@given(texts, texts)
def test_csv_comes_back_and_has_no_formula(a: str, b: str) -> None:
    rows = list(csv.reader(io.StringIO(csv_table(table(a, b, "https://host/")))))
    assert [len(row) for row in rows] == [3, 3, 3]
    for shown, meant in zip(rows[1], (a, b, a), strict=True):
        seen = "\n".join(map(visible, meant.splitlines()))
        assert shown in (seen, "'" + seen)
        assert not re.match(r"\s*[=+@]|\s*-(?![\d.])", shown) or re.fullmatch(
            r"\s*[+-]?[\d.einfaty_]+\s*", shown, re.I
        )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=cmd|'/C calc'!A0", "'=cmd|'/C calc'!A0"),
        ("+trainer.x=1", "'+trainer.x=1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-2+3", "'-2+3"),
        ("\t=1", "' =1"),
        ("-1.5", "-1.5"),
        ("−6", "-6"),
        ("bias −6", "bias −6"),
        ("1e-3", "1e-3"),
        ("two\nlines", "two\nlines"),
        ("two\r\nlines", "two\nlines"),
    ],
)
def test_a_spreadsheet_takes_no_text_for_a_formula_and_a_number_for_a_number(text: str, shown: str) -> None:
    (_, row) = csv.reader(io.StringIO(csv_table(Table("t", "", (Column("a"), Column("b")), [[text, -1.5]]))))
    assert row == [shown, "-1.5"]


@fuzzed
@given(texts, texts)
def test_latex_has_as_many_rows_and_cells_as_the_table(a: str, b: str) -> None:
    text = latex.latex_table(table(a, b, "https://host/"))
    assert text.isascii() or not re.search("[^\x00-\u017f\u2010-\u2027]", text)
    assert len(text.splitlines()) == 14
    bare = re.sub(r"\$[^$\s]+\$|\\text\w+\{\}|\\[&%$#_{}]", "x", text)  # what stands for a letter
    start, end = (bare.index(rule) for rule in (r"\toprule", r"\bottomrule"))
    inside = re.sub(r"\\(top|mid)rule", "", bare[start:end])
    rows = inside.split(r"\\")
    assert [row.count("&") for row in rows] == [2, 2, 2, 0]
    assert not re.search(r"^\s*[\[*]|[%#^~_]", "\n".join(row.strip() for row in rows))
    assert not re.search(r"\\(?!times|pm|le|ge|Delta|dagger|ddagger)", "".join(rows))
    assert inside.count("{") == inside.count("}")


ADDRESSES = [
    ("https://wandb.ai/lab/p/runs/a1", "https://wandb.ai/lab/p/runs/a1"),
    ('https://a"/onmouseover="x', "https://a%22/onmouseover=%22x"),
    ("https://a/b) [c](https://d", "https://a/b%29%20[c]%28https://d"),
    ("http://127.0.0.1:8080/é?a=1&b=%20#c", "http://127.0.0.1:8080/%C3%A9?a=1&b=%20#c"),
    ("javascript:alert(1)", None),
    ("JAVASCRIPT://x/%0aalert(1)", None),
    ("data:text/html,x", None),
    ("//host/x", None),
    (" https://host", None),
    ("https://", None),
    ("https:// host", None),
    ("", None),
]


@pytest.mark.parametrize(("url", "address"), ADDRESSES)
def test_only_addresses_of_the_web_are_links(url: str, address: str | None) -> None:
    page, text = (module.inline(Link("run", url)) for module in (html, markdown))
    assert text == (f"[run]({address})" if address else "run")
    ((tag, attributes),) = Parsed(page).tags or [("", {})]
    assert (attributes.get("href") if tag else None) == address


def test_a_text_is_never_parsed() -> None:
    text = "**a** `b` [c](https://d) a_b _c_ [0.1, 0.2] 5 < 6"
    assert html.inline(text) == "**a** `b` [c](https://d) a_b _c_ [0.1, 0.2] 5 &lt; 6"
    assert markdown.inline(text) == r"\*\*a\*\* &#96;b&#96; [c]\(https://d) a_b \_c\_ [0.1, 0.2] 5 < 6"
    assert latex.latex("`a` **b**") == r"\textasciigrave{}a\textasciigrave{} **b**"


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("a", "`a`"),
        ("a`b", "``a`b``"),
        ("`a", "`` `a ``"),
        (" a ", "`  a  `"),
        ("a\nb", "`a b`"),
        ("a\\", "`a\\`"),
    ],
)
def test_code_in_markdown_may_hold_backticks(code: str, shown: str) -> None:
    assert markdown.inline(Code(code)) == shown
