"""Tables are whole in any width: no number is cut, and nothing is left out without a word."""

import io

import pytest
from rich.console import Console

from metarl_jax.console.tables import Column, Table, fit, show
from metarl_jax.runs.reporter import Reporter

NUMBERS = [f"{100 + index}.25\n({index}00.50 to {index}99.75)" for index in range(4)]
TABLE = Table(
    "A title of some words, longer than a narrow terminal",
    [
        Column("name", ["runs/[bold]one[/]", "a second row of words"], is_text=True),
        *(Column(f"column {index}", [text, "nan"]) for index, text in enumerate(NUMBERS)),
        Column("spare", ["77.125", "88.125"], may_go=True),
    ],
    sections=[1],
)


def printed(thing, width, is_terminal):
    console = Console(
        file=io.StringIO(), width=width, force_terminal=is_terminal, color_system=None
    )
    show(thing, console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 160, 400])
def test_a_terminal_of_any_width_shows_every_number(width):
    text = printed(TABLE, width, is_terminal=True)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text
    for number in NUMBERS:
        assert all(any(part in line for line in lines) for part in number.split("\n"))
    if width >= 60:  # elsewhere the name is broken
        assert "[bold]" in text
    assert ("77.125" in text) != ("Left out" in text)


@pytest.mark.parametrize("width", [20, 80, 400])
def test_where_there_is_no_terminal_a_row_is_a_line(width):
    lines = printed(TABLE, width, is_terminal=False).splitlines()
    row = next(line for line in lines if "runs/[bold]one[/]" in line)
    for number in (*NUMBERS, "77.125"):
        assert number.replace("\n", " ") in row
    assert lines[0] == TABLE.title
    assert printed("word " * 100, width, is_terminal=False).splitlines() == ["word " * 100]


def test_words_are_not_broken_where_a_column_can_move_instead():
    names = Column("", ["a-folder-seed0\n(inner_lr=0.05)", "b"], is_text=True)
    table = Table("", [names, *(Column(str(index), ["12345678", "1"]) for index in range(3))])
    for width in range(30, 80):
        words = printed(table, width, is_terminal=True).split()
        assert {"a-folder-seed0", "(inner_lr=0.05)", "12345678"} <= set(words)


def test_columns_that_may_go_go_first_and_the_others_move_below():
    columns = [
        Column("key", ["1"]),
        *(Column(name, ["12345678"], may_go=name in "ce") for name in "abcde"),
    ]

    def names(width):
        blocks, _ = fit(columns, width)
        return ["".join(column.name[0] for column in block) for block in blocks]

    assert names(80) == ["kabcde"]
    assert names(60) == ["kabcd"]
    assert names(50) == ["kabd"]
    assert names(30) == ["kab", "kd"]
    assert names(5) == ["ka", "kb", "kd"]


def test_an_evaluation_with_all_strategies_is_whole_in_80_columns():
    names = ["random", "oracle", "gittins", "ucb1", "thompson", "epsilon_greedy", "bayes_optimal"]
    by_round = [0.5123 + index for index in range(10)]
    control = {"return_mean": [1.0] * 10, "total_mean": 5432.1}
    evaluation = {
        "num_tasks": 8,
        "split": "test",
        "step": 4,
        "checkpoint": "best",
        "round_label": "round",
        "return_mean": by_round,
        "return_iqm": by_round,
        "ci95": [[0.25, 1000.75]] * 10,
        "total_mean": 5.0,
        "total_ci95": [4.5, 5.5],
        "return_percentiles": {"50": by_round},
        "total_percentiles": {"50": 5.0},
        "parameters": {"all": 10, "adapted": 10, "stay": 0},
        "controls": dict.fromkeys(names, control),
    }
    for is_terminal in (True, False):
        console = Console(
            file=io.StringIO(), width=80, force_terminal=is_terminal, color_system=None
        )
        Reporter(console).curve(evaluation)
        text = console.file.getvalue()
        assert "best checkpoint" in text
        assert "…" not in text
        assert all(name in text for name in names)
        assert text.count("5432") == len(names)
        assert "0.25 to 1001" in text
