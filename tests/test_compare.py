"""`metarl compare`: runs and sweeps in one table, from the files that they write."""

import csv
import io
import json

import pytest
from rich.console import Console

from metarl_jax import learners
from metarl_jax.cli.compare import table
from metarl_jax.cli.main import main
from metarl_jax.console.tables import show
from metarl_jax.sweeps.comparison import read_all


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def config(name, learner="maml", inner_lr=0.1, **changes):
    base = {
        "name": name,
        "num_rounds": 2,
        "seed": 0,
        "learner": {"name": learner, "inner_lr": inner_lr},
        "env": {"name": "bandit"},
        "runtime": {"num_devices": None},
    }
    return base | changes


def evaluation(mean, num_rounds=2, **more):
    by_round = [mean + index for index in range(num_rounds)]
    return {
        "num_tasks": 7,
        "step": 60,
        "parameters": {"all": 120, "adapted": 8},
        "return_mean": by_round,
        "ci95": [[x - 0.5, x + 0.75] for x in by_round],
        "total_mean": sum(by_round),
        "total_ci95": [sum(by_round) - 1.5, sum(by_round) + 1.5],
        "controls": {"random": {"return_mean": [-60.0] * num_rounds}},
        **more,
    }


def write_run(path, configuration, **changes):
    write(path / "config.json", configuration)
    write(path / "eval.json", evaluation(-3.0, **changes))
    (path / "metrics.jsonl").write_text('{"env_steps": 100}\n{"env_steps": 1230000}\n{"cut o')


@pytest.fixture
def trained(tmp_path):
    """A run of two rounds and a sweep of three, which have ended."""
    write_run(tmp_path / "run", config("one"), checkpoint="last")
    row = {
        "values": {"learner.inner_lr": 0.1},
        "return_mean": [-9.0, -8.0, None],
        "ci95": [[-10.0, -8.5], [-8.5, -7.5], [None, None]],
    }
    results = {
        "num_tasks": 5,
        "num_seeds": 4,
        "step": 30,
        "parameters": {"all": 4000, "adapted": 25},
        "points": [row],
    }
    write(tmp_path / "sweep/sweep.json", {"config": config("many")})
    write(tmp_path / "sweep/results.json", results)
    write(tmp_path / "sweep/members/a=1/metrics.jsonl", {"env_steps": 456000})
    return tmp_path


def rows_of(text):
    """The cells of a table in Markdown, by row name and column."""
    header, _, *lines = [
        [cell.strip() for cell in line.split(" | ")]
        for line in (line.removeprefix("| ").removesuffix(" |") for line in text.splitlines())
    ]
    return {line[0]: dict(zip(header[1:], line[1:], strict=True)) for line in lines}


def test_runs_and_sweeps_stand_side_by_side(trained, capsys):
    words = ["compare", str(trained / "run"), str(trained / "sweep"), "--markdown"]
    assert main([*words, "--rounds", "all", "sum"]) == 0
    rows = rows_of(capsys.readouterr().out)
    assert list(rows) == ["run (one)", "sweep (many, inner_lr=0.1)", "control: random"]
    run, sweep, control = rows.values()
    assert run["round 1"] == "-3.00 (-3.50 to -2.25)"
    assert (run["round 3"], run["sum"]) == ("", "-5.00 (-6.50 to -3.50)")
    assert (run["seeds"], run["tasks"], run["env-steps"]) == ("1", "7", "1.23M")
    assert (run["meta-steps"], run["moved"], run["parameters"]) == ("60 (last)", "8", "120")
    assert sweep["round 1"] == "-9.00 (-10.00 to -8.50)"
    assert (sweep["round 3"], sweep["sum"]) == ("nan (nan to nan)", "nan")
    assert (sweep["seeds"], sweep["env-steps"], sweep["meta-steps"]) == ("4", "456.0k", "30")
    assert (control["round 2"], control["sum"], control["seeds"]) == ("-60.00", "-120.00", "")


def test_the_first_the_counted_and_the_last_round_and_the_sum_are_shown(tmp_path, capsys):
    for learner in ("maml", "rl2"):
        settings = config("p", learner, num_rounds=4)
        unit = learners.get(learner).round_label
        write_run(tmp_path / learner, settings, num_rounds=6, round_label=unit)
        assert main(["compare", str(tmp_path / learner), "--markdown"]) == 0
        rows = rows_of(capsys.readouterr().out)
        shown = [name for name in rows[learner] if name.startswith(unit) or name == "sum"]
        counted = {"maml": ["round 4"], "rl2": []}[learner]
        assert shown == [f"{unit} 1", *counted, f"{unit} 6", "sum"]
    both = [str(tmp_path / learner) for learner in ("maml", "rl2")]
    assert main(["compare", *both, "--markdown", "--rounds", "counted", "2"]) == 0
    rows = rows_of(capsys.readouterr().out)
    assert rows["maml (learner.name=maml)"]["counted"] == "0.00 (-0.50 to 0.75)"
    assert (
        rows["rl2 (learner.name=rl2)"]["counted"] == "-0.50 (-0.75 to -0.25)"
    )  # the mean over all
    assert rows["control: random"]["round 2"] == "-60.00"
    assert main(["compare", *both, "--rounds", "0"]) == 2


def test_runs_of_a_preset_are_told_apart_by_their_fields(tmp_path, capsys):
    for index, inner_lr in enumerate((0.05, 0.2)):
        runtime = {"num_devices": index}
        settings = config("p", inner_lr=inner_lr, runtime=runtime, seed=index)
        write_run(tmp_path / f"runs/[{index}]", settings)
    write_run(tmp_path / "runs/other", config("q", env={"name": "point_robot"}))
    folders = [str(path) for path in sorted((tmp_path / "runs").iterdir())]
    assert main(["compare", *folders, "--markdown"]) == 0
    assert list(rows_of(capsys.readouterr().out)) == [
        "[0] (p, seed=0, inner_lr=0.05)",
        "[1] (p, seed=1, inner_lr=0.2)",
        "other (q)",
        "control of [0]: random",
        "control of other: random",
    ]


def test_a_run_that_has_not_ended_is_shown_with_its_last_evaluation(trained, capsys):
    lines = [
        {"step": 20, "env_steps": 5, "eval_return": [-9.0, -9.0], "eval_ci95": [[0, 1], [0, 1]]},
        {"step": 40, "env_steps": 9, "eval_return": [-7.0, -6.0], "eval_ci95": [[-8, -6]] * 2},
        {"step": 50, "env_steps": 2_000_000},
    ]
    for path in (trained / "going", trained / "sweeping/members/seed=3"):
        write(path / "config.json", config("one"))
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write(trained / "sweeping/sweep.json", {"config": config("one")})
    write(trained / "begun/config.json", config("one"))
    folders = [str(trained / name) for name in ("begun", "going", "run", "sweeping", "nowhere")]
    assert main(["compare", *folders, "--markdown"]) == 0
    out, err = capsys.readouterr()
    rows = rows_of(out)
    assert list(rows) == ["going", "run", "sweeping/members/seed=3", "control: random"]
    assert rows["going"]["round 1"] == "-7.00 (-8.00 to -6.00)"
    assert rows["going"]["meta-steps"] == "40 (not ended)"
    assert (rows["going"]["env-steps"], rows["going"]["sum"]) == ("2.00M", "-13.00")
    assert rows["sweeping/members/seed=3"] == rows["going"]
    warnings = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 4  # none of the run that has ended
    for name in ("begun", "going", "sweeping", "nowhere"):
        assert any(str(trained / name) in line for line in warnings)


def test_what_goes_on_for_longer_has_not_ended(trained, capsys):
    """The evaluation and the results of the shorter training are not shown beside the steps of the longer one."""
    lines = [
        {"step": 30, "env_steps": 456_000},
        {"step": 60, "env_steps": 9, "eval_return": [-7.0, -6.0], "eval_ci95": [[-8, -6]] * 2},
        {"step": 80, "env_steps": 2_000_000},
    ]
    for path in (trained / "run", trained / "sweep/members/a=1"):
        write_run(path, config("one", num_meta_steps=100), last_step=60)
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    folders = [str(trained / "run"), str(trained / "sweep")]
    write(trained / "sweep/sweep.json", {"config": config("many", num_meta_steps=30)})
    assert main(["compare", folders[1], "--markdown"]) == 0
    out, err = capsys.readouterr()
    [row] = [row for name, row in rows_of(out).items() if "control" not in name]
    assert (row["meta-steps"], row["env-steps"], err) == ("30", "456.0k", "")
    write(trained / "sweep/sweep.json", {"config": config("many", num_meta_steps=100)})
    assert main(["compare", *folders, "--markdown"]) == 0
    out, err = capsys.readouterr()
    for name in ("run", "sweep/members/a=1"):
        row = rows_of(out)[name]
        assert (row["meta-steps"], row["round 1"]) == ("60 (not ended)", "-7.00 (-8.00 to -6.00)")
    assert len([line for line in err.splitlines() if line.startswith("warning: ")]) == 2


def test_a_folder_without_results_is_bad_input(tmp_path, capsys):
    assert main(["compare", str(tmp_path)]) == 2
    assert "has no config.json" in capsys.readouterr().err
    write_run(tmp_path / "run", config("one"))
    (tmp_path / "run/eval.json").write_text("{")
    assert main(["compare", str(tmp_path / "run")]) == 2
    assert "eval.json cannot be read" in capsys.readouterr().err
    assert main(["compare"]) == 2


@pytest.mark.parametrize("width", [60, 80, 160])
def test_a_hundred_rounds_are_whole_in_a_terminal(tmp_path, width):
    write_run(tmp_path / "a-preset-with-a-long-name-seed0", config("p", "rl2"), num_rounds=100)
    [path] = tmp_path.iterdir()
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    show(table(read_all([path], print)), console)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    for words in ("-3.00", "-3.50 to -2.25", "96.00", "95.50 to 96.75", "4650", "1.23M", "120"):
        assert words in text


def test_csv_and_json_hold_all_rounds(trained, capsys):
    file = trained / "results.csv"
    words = ["compare", str(trained / "run"), str(trained / "sweep"), "--csv", str(file), "--json"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert str(file) in err
    run, sweep, control = json.loads(out)
    assert run["return_mean"] == [-3.0, -2.0]
    assert (run["preset"], run["step"], run["checkpoint"]) == ("one", 60, "last")
    assert sweep["differs"] == {"learner.inner_lr": 0.1}
    assert sweep["total_mean"] is None
    assert control["is_control"]
    with file.open(newline="") as lines:
        run, sweep, control = csv.DictReader(lines)
    assert run["run"] == str(trained / "run")
    assert (run["round_2"], run["round_2_high"], run["sum_low"]) == ("-2.0", "-1.25", "-6.5")
    assert (sweep["learner.inner_lr"], sweep["round_3"], run["round_3"]) == ("0.1", "", "")
    assert (control["run"], control["round_1"]) == ("control: random", "-60.0")


def test_a_csv_file_that_cannot_be_written_is_told_before_anything_is_read(tmp_path, capsys):
    assert main(["compare", str(tmp_path), "--csv", str(tmp_path / "none/x.csv")]) == 2
    assert "csv=" in capsys.readouterr().err


@pytest.fixture
def families(tmp_path):
    """Four seeds of one configuration, three of another, in folders of their own."""
    for name, inner_lr, means in (("slow", 0.05, (1, 2, 3, 6)), ("fast", 0.2, (2, 4, 6))):
        for seed, mean in enumerate(means):
            path = tmp_path / f"{name}-seed{seed}"
            settings = config("p", "rl2", inner_lr=inner_lr, seed=seed, runtime={"at": seed})
            write_run(path, settings)
            write(path / "eval.json", evaluation(float(mean)))
    return [str(path) for path in sorted(tmp_path.iterdir())]


def test_the_seeds_of_a_configuration_are_one_row(families, capsys):
    """Scores are the means over both rounds: 1.5, 2.5, 3.5, 6.5 and 2.5, 4.5, 6.5."""
    assert main(["compare", *families, "--markdown", "--baseline", "slow"]) == 0
    rows = rows_of(capsys.readouterr().out)
    assert list(rows) == ["fast (inner_lr=0.2)", "slow (inner_lr=0.05)", "control: random"]
    fast, slow, _ = rows.values()
    assert (fast["seeds"], slow["seeds"]) == ("3", "4")
    # 4 ± 4.303 · 2/√3 and 3 ± 3.182 · 2.160/√4
    assert fast["round 1"] == "4.00 (-0.97 to 8.97)"
    assert slow["round 1"] == "3.00 (-0.44 to 6.44)"
    assert slow["counted, IQM of seeds"].startswith("3.00 (")  # the mean of 2.5 and 3.5
    assert fast["counted, IQM of seeds"].startswith("4.50 (")  # of three nothing is left out
    # 2.5: 1 + ½; 4.5: 3; 6.5: 3 + ½, of 12 pairs
    assert fast["P(better than baseline)"].startswith("0.67 (")
    assert slow["P(better than baseline)"] == ""
    assert main(["compare", *families, "--markdown", "--each-seed"]) == 0
    assert len(rows_of(capsys.readouterr().out)) == 8


def test_statistics_over_seeds_are_in_json_and_csv(families, tmp_path, capsys):
    file = tmp_path / "results.csv"
    words = ["compare", *families, "--json", "--csv", str(file), "--baseline", "slow"]
    assert main(words) == 0
    fast, slow, _ = json.loads(capsys.readouterr().out)
    assert fast["scores"] == [2.5, 4.5, 6.5]
    assert [len(row["runs"]) for row in (fast, slow)] == [3, 4]
    assert fast["improvement"]["value"] == pytest.approx(8 / 12)
    assert (slow["iqm"]["value"], slow["improvement"]) == (3.0, None)
    with file.open(newline="") as lines:
        line, other, _ = csv.DictReader(lines)
    assert float(line["improvement"]) == pytest.approx(8 / 12)
    assert float(line["iqm_low"]) == fast["iqm"]["low"]
    assert (other["iqm"], other["improvement"], other["num_seeds"]) == ("3.0", "", "4")


def test_a_baseline_that_is_not_there_is_bad_input(families, capsys):
    assert main(["compare", *families, "--baseline", "best"]) == 2
    assert "baseline='best' is the name of no row: choose one of fast, slow" in (
        " ".join(capsys.readouterr().err.split())
    )
    assert main(["compare", *families, "--baseline", "p"]) == 2  # both have this preset
