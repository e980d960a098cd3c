"""Pages of `metarl render` in a browser: they draw, play, turn, ask nothing of a network and report no error."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from metarl_jax.core.scenes import Capsule, Circle, Line, Mark, Scene, Space
from metarl_jax.viewer.episodes import Episode
from metarl_jax.viewer.page import make_page

pytestmark = pytest.mark.slow

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)

LISTEN = """<script>
const errors = [];
addEventListener("error", event => errors.push(String(event.message)));
addEventListener("securitypolicyviolation", event => errors.push("asked for " + event.blockedURI));
console.error = console.warn = (...words) => errors.push(words.join(" "));
</script>"""

PROBE = """<script>
const pictures = () => [...document.querySelectorAll("figure > canvas")].map(canvas => {
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const colors = new Set();
  let sum = 0;
  for (let i = 0; i < pixels.length; i += 4) {
    colors.add(pixels[i] << 16 | pixels[i + 1] << 8 | pixels[i + 2]);
    sum += pixels[i] * (i % 977);
  }
  return [colors.size, sum];
});
function drag(canvas) {
  canvas.setPointerCapture = canvas.releasePointerCapture = () => {}; // which made-up pointers do not have
  const mouse = { pointerId: 1, button: 0, clientY: 50, pointerType: "mouse", bubbles: true };
  const send = (type, x) => canvas.dispatchEvent(new PointerEvent(type, { ...mouse, clientX: x }));
  send("pointerdown", 50); send("pointermove", 120); send("pointerup", 120);
}
const find = name => document.getElementById(name), found = { first: pictures() };
find("play").click(); find("time").value = 3; find("time").oninput({ target: find("time") });
found.later = pictures(); found.step = find("step").textContent;
drag(document.querySelector("figure > canvas"));
found.turned = pictures();
found.titles = [...document.querySelectorAll("figcaption")].map(caption => caption.textContent);
found.strips = [...document.querySelectorAll(".strip i")].map(cursor => cursor.style.left);
found.requests = performance.getEntriesByType("resource").map(entry => entry.name);
found.errors = errors;
const report = document.createElement("pre");
report.id = "report"; report.textContent = JSON.stringify(found); document.body.append(report);
</script>"""


def open_page(page, folder):
    """Opens a page in the browser, moves its controls, and returns what was found in it."""
    if BROWSER is None:
        pytest.skip("no chromium program is installed (Debian: apt-get install chromium)")
    page = page.replace("<title>", LISTEN + "<title>", 1).replace("</body>", PROBE + "</body>")
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    flags = (
        "--headless --no-sandbox --use-angle=swiftshader --enable-unsafe-swiftshader --window-size=900,700 "
        "--virtual-time-budget=3000 --dump-dom"
    )
    command = [BROWSER, *flags.split(), f"--user-data-dir={folder / 'profile'}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    report = re.search(r'<pre id="report">(.*?)</pre>', done.stdout, re.DOTALL)
    assert report, done.stderr[-2000:]
    found = json.loads(report.group(1).replace("&lt;", "<").replace("&gt;", ">"))
    assert found["errors"] == []
    assert found["requests"] == []
    return found


def test_a_page_of_the_plane_plays(tmp_path):
    path = [(0.1 * t, 0.2) for t in range(6)]
    frames = [[Line(path[: t + 1], 0.1), Circle(0.1 * t, 0.5, 0.1)] for t in range(6)]
    described = {"belief": np.linspace(-1.0, 1.0, 12).reshape(6, 2)}
    episodes = [Episode(k, 3.0, [0.5] * 6, Scene((0, 0, 1, 1), frames), described) for k in (1, 2)]
    found = open_page(make_page([episodes], "plane", "", "round"), tmp_path)
    assert found["step"] == "step 4 of 6"
    assert found["titles"] == ["round 12.00 of 3.00", "round 22.00 of 3.00"]
    assert found["strips"] == [f"{100 * 3.5 / 6:.4f}%"] * 2
    assert all(a != b for a, b in zip(found["first"], found["later"], strict=True))
    assert found["turned"] == found["later"]


def test_a_page_of_a_robot_plays_and_turns(tmp_path):
    """Two robots of different shape: pictures differ, change from step to step, and turn together."""
    positions, rotations = np.zeros((6, 2, 3)), np.tile([1.0, 0.0, 0.0, 0.0], (6, 2, 1))
    positions[:, :, 0], positions[:, 1, 2] = 0.3 * np.arange(6)[:, None], 0.1 * np.arange(6)
    positions[..., 2] += 0.5
    marks = [
        Mark("bar", np.ones((6, 2))),
        Mark("disc", np.ones((6, 2))),
        Mark("arrow", np.ones((6, 2))),
    ]
    episodes = []
    for number, radius in ((1, 0.2), (2, 0.1)):
        capsules = [
            Capsule(0, (0, 0, 0), (0, 0, 0), radius, "accent"),
            Capsule(1, (0, 0, 0), (0.5, 0, 0.2), radius),
        ]
        space = Space(capsules, positions, rotations, marks, "a task")
        scene = Scene((0, 0, 1, 1), [[]] * 6, space=space)
        episodes.append(Episode(number, 3.0, [0.5] * 6, scene))
    found = open_page(make_page([episodes], "robot", "", "round"), tmp_path)
    first, later, turned = found["first"], found["later"], found["turned"]
    assert all(num_colors > 50 for num_colors, _ in first)  # shaded bodies, not a blank picture
    assert first[0] != first[1]
    assert all(a != b for a, b in zip(first, later, strict=True))
    assert all(a != b for a, b in zip(later, turned, strict=True))
