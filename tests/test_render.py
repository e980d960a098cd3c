"""`metarl render`: drawings of environments, the page, and the animation."""

import json
import re

import jax
import numpy as np
import pytest
from PIL import Image

import metarl_jax
from metarl_jax import envs
from metarl_jax.cli.main import main
from metarl_jax.core.errors import UserError
from metarl_jax.core.scenes import Circle, Line, Rectangle, Scene, Text
from metarl_jax.envs.base import draws_itself
from metarl_jax.envs.brax.drawing import project, rotate
from metarl_jax.viewer.episodes import Episode, chosen_rounds, record
from metarl_jax.viewer.page import make_page

DRAWN = [name for name in envs.names() if draws_itself(envs.make(name))]
QUICK = [name for name in DRAWN if not hasattr(envs.get(name), "robot")]


def inside(scene, x, y):
    left, bottom, right, top = scene.bounds
    return left <= x <= right and bottom <= y <= top


@pytest.mark.parametrize("name", QUICK)
def test_environments_draw_every_step_within_bounds(name):
    env = envs.make(name)
    task = env.sample(jax.random.key(0))

    def step(state, key):
        action = env.action_space
        noise = jax.random.uniform(key, (getattr(action, "size", 1),), minval=-1.0)
        chosen = jax.random.randint(key, (), 0, 4) if hasattr(action, "num_actions") else noise
        return env.step(task, state, chosen), state

    keys = jax.random.split(jax.random.key(1), 6)
    states = jax.jit(lambda: jax.lax.scan(step, env.reset(task, keys[0]), keys)[1])()
    scene = env.render(*jax.device_get((task, states)))
    assert len(scene.frames) == 6
    for frame in [scene.background, *scene.frames]:
        for shape in frame:
            if isinstance(shape, Circle | Rectangle | Text):
                assert inside(scene, shape.x, shape.y)
            else:
                assert all(inside(scene, *point) for point in shape.points)


def test_the_agent_of_the_grid_is_drawn_where_it_is():
    env = envs.make("grid_navi")
    task = np.array([4, 0], np.int32)
    state = env.reset(task, jax.random.key(0))
    states = [state, env.step(task, state, 1)]
    stacked = jax.device_get(jax.tree.map(lambda *x: np.stack(x), *states))
    scene = env.render(task, stacked)
    agents = [next(s for s in frame if isinstance(s, Circle)) for frame in scene.frames]
    assert [(a.x, a.y) for a in agents] == [(0.5, 0.5), (0.5, 1.5)]
    goals = [s for s in scene.background if s.color == "goal"]
    assert [(int(g.x), int(g.y)) for g in goals] == [(4, 0)]


def test_what_does_not_draw_itself_is_told():
    assert not draws_itself(envs.make("bandit"))
    assert set(QUICK) >= {"grid_navi", "dark_room", "point_robot", "job_scheduling"}
    assert set(DRAWN) >= {"ant_dir", "half_cheetah_dir", "hopper_params"}


def test_a_rotation_and_a_projection():
    quarter = np.array([np.cos(np.pi / 4), 0.0, 0.0, np.sin(np.pi / 4)])  # around z
    np.testing.assert_allclose(rotate(np.array([1.0, 0.0, 2.0]), quarter), [0, 1, 2], atol=1e-12)
    assert project(np.array([1.0, 5.0, 2.0]), True) == (1.0, 2.0)
    x, y = project(np.array([0.0, 0.0, 2.0]), False)
    assert (x, y) == (0.0, 2.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a few meta-steps on the grid."""
    path = tmp_path_factory.mktemp("render") / "run"
    words = (
        f"train rl2 --env grid_navi --env.horizon 4 --num-meta-steps 2 --num-tasks 4 --num-rounds 3 "
        f"--learner.hidden-size 8 --outer.num-epochs 1 --outer.num-minibatches 1 --evaluation.every 0 "
        f"--evaluation.num-tasks 2 --runtime.num-devices 1 --run-dir {path}"
    )
    assert main(words.split()) == 0
    return path


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL).group(1))


def test_the_page_is_self_contained_and_shows_the_trials(run, tmp_path):
    out = tmp_path / "agent.html"
    assert main(["render", str(run), "--tasks", "2", "--rounds", "1", "3", "--out", str(out)]) == 0
    page = out.read_text()
    assert not re.search(r"(src|href)\s*=|https?://|@import", page)
    data = data_of(page)
    assert [len(task) for task in data["tasks"]] == [2, 2]
    loaded = metarl_jax.load(run)
    expected = record(loaded.program, loaded.state, num_tasks=2, rounds=[1, 3])
    for task, episodes in zip(data["tasks"], expected, strict=True):
        for shown, episode in zip(task, episodes, strict=True):
            assert shown["round"] == episode.round
            assert shown["total"] == pytest.approx(episode.total)
            assert sum(shown["rewards"]) == pytest.approx(episode.total, abs=1e-3)
            assert len(shown["scene"]["frames"]) == len(shown["rewards"]) == 4
    # The goal that is drawn is the one that pays.
    for episodes in expected:
        for episode in episodes:
            goal = next(s for s in episode.scene.background if s.color == "goal")
            agents = [next(s for s in f if isinstance(s, Circle)) for f in episode.scene.frames]
            at_goal = [
                abs(a.x - goal.x - 0.46) + abs(a.y - goal.y - 0.46) < 0.1 for a in agents[1:]
            ]
            assert at_goal == [reward > 0 for reward in episode.rewards[:-1]]


def test_the_animation_has_a_frame_a_step(run, tmp_path):
    out = tmp_path / "agent.gif"
    assert main(["render", str(run), "--tasks", "1", "--out", str(out)]) == 0
    with Image.open(out) as image:
        assert image.n_frames == 4
        assert image.width > 3 * 260


def test_text_cannot_end_the_script():
    scene = Scene((0, 0, 1, 1), [[Text(0, 0, "</script><b>", 1.0), Line([(0, 0), (1, 1)], 0.1)]])
    page = make_page([[Episode(1, 0.0, [0.0], scene)]], "<title>", "&", "episode")
    assert page.count("</script>") == 2
    assert data_of(page)["tasks"][0][0]["scene"]["frames"][0][0][3] == "</script><b>"
    assert "<title><title>" not in page


def test_rounds_that_are_drawn():
    assert chosen_rounds(None, 1) == [1]
    assert chosen_rounds(None, 2) == [1, 2]
    assert chosen_rounds(None, 5) == [1, 3, 5]
    with pytest.raises(UserError, match="rounds=4 must be from 1 to 3"):
        chosen_rounds([4], 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--out agent.mov", "must end with one of .html, .gif"),
        ("--out no/such/agent.gif", "out="),
        ("--rounds 9", "rounds=9 must be from 1 to 3"),
        ("--split ood", "split='ood'"),
        ("--tasks 0", "tasks"),
    ],
)
def test_bad_use_is_one_line(run, words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["render", str(run), *words.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
