"""`metarl render`: drawings of environments, the page, and the animation."""

import base64
import dataclasses
import json
import re
import sys
from types import SimpleNamespace

import jax
import mujoco
import numpy as np
import pytest
from PIL import Image

import metarl_jax
from metarl_jax import envs
from metarl_jax.cli.main import main
from metarl_jax.core.errors import UserError
from metarl_jax.core.scenes import Circle, Line, Rectangle, Scene, Text
from metarl_jax.envs import drawings
from metarl_jax.envs.brax.drawing import (
    draw_robot,
    mark_heading,
    mark_place,
    mark_speed,
    project,
    rotate,
)
from metarl_jax.envs.optional import draws_itself, draws_trials
from metarl_jax.viewer.animation import WRITERS, draw_frames
from metarl_jax.viewer.episodes import Episode, _some_of, check_drawn, record
from metarl_jax.viewer.page import make_page

DRAWN = [name for name in envs.names() if draws_itself(envs.make(name))]
QUICK = [name for name in DRAWN if not hasattr(envs.get(name), "robot")]
CONFIG = metarl_jax.presets.get("rl2-bandit")
ROBOTS = [name for name in DRAWN if name not in QUICK]


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
        chosen = jax.random.randint(key, (), 0, 3) if hasattr(action, "num_actions") else noise
        following = env.step(task, state, chosen)
        return following, (state, chosen, following.reward)

    keys = jax.random.split(jax.random.key(1), 6)
    steps = jax.jit(lambda: jax.lax.scan(step, env.reset(task, keys[0]), keys)[1])()
    task, found = jax.device_get((task, steps))
    whole = draws_trials(env)
    scene = env.render_trial(task, *found) if whole else env.render(task, found[0])
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


def test_choices_are_drawn_where_and_as_they_were_made():
    actions, rewards = np.array([2, 0, 2]), np.array([1.0, 0.0, 1.0])
    scene = drawings.choices(actions, rewards, np.array([0.2, 0.5, 0.9]))
    circles = [s for s in scene.background if isinstance(s, Circle)]
    assert [(int(c.y), c.color) for c in circles] == [(2, "good"), (0, "bad"), (2, "good")]
    assert circles[0].x < circles[1].x < circles[2].x
    bars = [s for s in scene.background if isinstance(s, Rectangle)][1:]
    assert [bar.color for bar in bars] == ["muted", "muted", "goal"]
    covers = [frame[0] for frame in scene.frames]  # what is to come
    assert [[c.x > cover.x for c in circles] for cover in covers] == [
        [False, True, True],
        [False, False, True],
        [False, False, False],
    ]


def test_all_that_this_library_defines_draws_itself():
    assert set(envs.names()) - set(DRAWN) == {"craftax", "gymnax", "jumanji"}
    assert {"bandit", "tabular_mdp", "ant_dir"} <= set(DRAWN)
    with pytest.raises(
        UserError, match=r"'jumanji' does not draw itself: define JumanjiTasks\.render"
    ):
        check_drawn(dataclasses.replace(CONFIG, env=envs.make("jumanji")))
    with pytest.raises(UserError, match="rounds=2: a picture of env 'bandit' is of a whole trial"):
        check_drawn(dataclasses.replace(CONFIG, env=envs.make("bandit")), [2])


def test_a_rotation_and_a_projection():
    quarter = np.array([np.cos(np.pi / 4), 0.0, 0.0, np.sin(np.pi / 4)])  # around z
    np.testing.assert_allclose(rotate(np.array([1.0, 0.0, 2.0]), quarter), [0, 1, 2], atol=1e-12)
    assert project(np.array([1.0, 5.0, 2.0]), True) == (1.0, 2.0)
    x, y = project(np.array([0.0, 0.0, 2.0]), False)
    assert (x, y) == (0.0, 2.0)


@pytest.mark.parametrize("name", ROBOTS)
def test_tasks_of_robots_are_marked_on_the_ground(name):
    """With a made-up body and path, so that no physics are compiled."""
    path = np.array([[0.0, 0.0], [1.0, 0.5]])
    env = envs.make(name)
    task = jax.device_get(env.sample(jax.random.key(3)))
    marks = env.marks(task, path)
    if name.endswith("_goal"):
        assert marks[0].kind == "disc"
        np.testing.assert_allclose(marks[0].places, [task, task])
    elif name.endswith("_dir"):
        assert marks[0].kind == "arrow"
        direction = np.append(np.atleast_1d(task), 0.0)[:2]
        heading = marks[0].heading
        np.testing.assert_allclose([np.cos(heading), np.sin(heading)], direction, atol=1e-6)
    elif name.endswith("_vel"):
        assert marks[0].kind == "bar"
        np.testing.assert_allclose(marks[0].places[:, 0], [0.0, 0.05 * task], rtol=1e-5)
    else:
        assert not marks


LEGS = """<mujoco><worldbody><geom type="plane" size="1 1 1"/><body><freejoint/>
  <geom type="sphere" size="0.25"/>
  <body pos="0.5 0 0"><joint axis="0 1 0"/><geom type="capsule" fromto="0 0 0 0.3 0 0.4" size="0.05"/></body>
</body></worldbody></mujoco>"""


def legged(num_steps=5):
    """The drawing of a ball with a leg, which rolls along x by 1 m a step and turns its leg by 90° about z."""
    quarter = [np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)]
    positions = np.zeros((num_steps, 2, 3))
    positions[..., 0] = np.arange(num_steps)[:, None]
    positions[:, :, 2], positions[:, 1, 1] = 0.5, 0.25
    rotations = np.tile([[1.0, 0.0, 0.0, 0.0], quarter], (num_steps, 1, 1))
    system = SimpleNamespace(mj_model=mujoco.MjModel.from_xml_string(LEGS))
    path = positions[:, 0, :2]
    marks = [
        mark_place([2.0, 1.0], path),
        mark_heading([0.0, -1.0], path),
        mark_speed(2, path, 0.5),
    ]
    links = SimpleNamespace(pos=positions, rot=rotations)
    return draw_robot(system, links, is_planar=False, marks=marks, label="<b>")


def test_a_robot_is_drawn_in_space_and_in_the_plane():
    scene = legged()
    ball, leg = scene.space.capsules
    assert (ball.link, ball.start, ball.radius) == (0, ball.end, 0.25)
    assert (leg.link, leg.radius) == (1, 0.05)
    ends = np.array(sorted([leg.start, leg.end]))
    np.testing.assert_allclose(ends, [[0, 0, 0], [0.3, 0, 0.4]], atol=1e-7)
    drawn = next(s for s in reversed(scene.frames[3]) if isinstance(s, Line))
    # Seen from below the torso at (3, 0): the leg goes along y instead of x.
    expected = [project(np.array(p), False) for p in ([0, 0.25, 0.5], [0, 0.55, 0.9])]
    np.testing.assert_allclose(sorted(drawn.points), sorted(expected), atol=1e-7)


def test_a_page_with_a_robot_holds_its_poses():
    scene = legged()
    page = make_page([[Episode(1, 1.0, [0.2] * 5, scene)]], "robot", "", "episode")
    assert "WebGLRenderer" in page
    assert not re.search(
        r"(src|href)\s*=\s*[\"']|https?://(?!www\.w3\.org/1999/xhtml)|@import", page
    )
    (episode,) = data_of(page)["tasks"][0]
    space, metre, unit = episode["space"], *episode["space"]["scales"]
    poses = np.frombuffer(base64.b64decode(space["poses"]), "<i2").reshape(5, 2, 7)
    found = poses[..., :3] / metre + np.array(space["path"])[:, None]
    np.testing.assert_allclose(found, scene.space.positions, atol=1e-3)
    np.testing.assert_allclose(poses[..., 3:] / unit, scene.space.rotations, atol=1e-4)
    disc, arrow, bar = space["marks"]
    assert disc["places"] == [[2.0, 1.0]]
    assert arrow["heading"] == pytest.approx(-np.pi / 2, abs=1e-4)
    assert [x for x, _ in bar["places"]] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert "scene" not in episode


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
    assert "WebGLRenderer" not in page
    assert not re.search(r"(src|href)\s*=|https?://|@import", page)
    data = data_of(page)
    assert [len(task) for task in data["tasks"]] == [2, 2]
    loaded = metarl_jax.load(run)
    expected = record(loaded.program, loaded.state, num_tasks=2, rounds=[1, 3])
    for task, episodes in zip(data["tasks"], expected, strict=True):
        for shown, episode in zip(task, episodes, strict=True):
            assert shown["title"] == f"episode {episode.round}"
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
    assert page.count("</script>") == 3
    assert data_of(page)["tasks"][0][0]["scene"]["shapes"][0][3] == "</script><b>"
    assert "<title><title>" not in page


def test_an_mp4_has_a_frame_a_step(tmp_path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    out = tmp_path / "agent.mp4"
    scene = Scene((0, 0, 1, 1), [[Circle(0.1 * t, 0.5, 0.1)] for t in range(7)])
    WRITERS[".mp4"](draw_frames([[Episode(1, 0.0, [0.0] * 7, scene)]], "episode"), out)
    assert imageio_ffmpeg.count_frames_and_secs(str(out))[0] == 7


def test_what_an_mp4_needs_is_named(run, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert main(["render", str(run), "--out", "agent.mp4"]) == 2
    assert "pip install 'metarl_jax[video]'" in capsys.readouterr().err


@pytest.mark.parametrize(("num_rounds", "shown"), [(1, [1]), (2, [1, 2]), (5, [1, 3, 5])])
def test_rounds_that_are_drawn(num_rounds, shown):
    assert _some_of(num_rounds) == shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--out agent.mov", "must end with one of .html, .gif, .mp4"),
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


def test_a_path_that_grows_is_stored_once():
    points = [(0.1 * t, 0.5) for t in range(50)]
    frames = [[Line(points[: t + 1], 0.01, "trace"), Circle(*points[t], 0.1)] for t in range(50)]
    data = data_of(
        make_page([[Episode(1, 0.0, [0.0] * 50, Scene((0, 0, 5, 1), frames))]], "", "", "")
    )
    scene = data["tasks"][0][0]["scene"]
    paths = [scene["shapes"][frame[0]] for frame in scene["frames"]]
    whole = scene["frames"][-1][0]
    assert paths[-1][0] == "l"
    assert len(paths[-1][1]) == 100
    assert paths[:-1] == [["g", whole, t + 1] for t in range(49)]
