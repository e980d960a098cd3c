"""`metarl report`: one page that needs no network, with the numbers of the runs."""

import html.parser
import json
import shutil
from pathlib import Path

import pytest

from metarl_jax.cli.main import main
from metarl_jax.console.markup import as_html, as_markdown
from metarl_jax.console.tables import Column, Table

RUN = Path(__file__).parents[1] / "metarl_jax" / "pretrained" / "rl2-grid-navi"


class Page(html.parser.HTMLParser):
    """The tags, the addresses that a browser would fetch, and the words of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        wanted = ("src", "href", "xlink:href")
        self.addresses += [x for name, x in attrs if name in wanted and not x.startswith("#")]

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture
def runs(tmp_path):
    """The folder of a trained run, and a copy with other fields and returns."""
    other = tmp_path / "runs" / "other"
    shutil.copytree(RUN, other)
    config = json.loads((other / "config.json").read_text())
    config["seed"], config["learner"]["hidden_size"] = 7, 99
    (other / "config.json").write_text(json.dumps(config))
    evaluation = json.loads((other / "eval.json").read_text())
    evaluation["return_mean"][-1] = 5.4321
    (other / "eval.json").write_text(json.dumps(evaluation))
    return RUN, other


def test_the_page_has_the_numbers_and_needs_no_network(runs, tmp_path, capsys):
    out = tmp_path / "report.html"
    assert main(["report", *map(str, runs), "--out", str(out)]) == 0
    page = Page(out.read_text())
    assert page.addresses == []
    assert "script" not in page.tags
    assert page.tags.count("svg") == 3  # of both together, and of each
    words = " ".join(page.words)
    evaluation = json.loads((RUN / "eval.json").read_text())
    for value in (evaluation["return_mean"][0], evaluation["controls"]["random"]["return_mean"][0]):
        assert f"{value:.2f}" in words
    assert "5.43" in words
    assert "What differs from the preset" in words
    assert "learner.hidden_size" in words
    assert "99" in words
    assert "Percentiles over tasks" in words
    assert "bayes_optimal" in words
    assert "2 runs" in words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "needs folders of runs or sweeps"),
        (["nowhere"], "has no config.json"),
        (["nowhere", "--out", "report.pdf"], "must end with one of .html"),
    ],
)
def test_bad_use_is_one_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["report", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_tables_as_markup():
    table = Table(
        "A <title>", [Column("name\nof", ["a&b", "c\nd"], is_text=True), Column("x", ["1", "2"])]
    )
    assert as_markdown(table) == "| name of | x |\n| --- | --- |\n| a&b | 1 |\n| c d | 2 |"
    text = as_html(table)
    assert "<caption>A &lt;title&gt;</caption>" in text
    assert '<th class="text">name<br>of</th><th>x</th>' in text
    assert '<tr><td class="text">a&amp;b</td><td>1</td></tr>' in text
