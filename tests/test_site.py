"""The documentation site: a page for everything that is registered, facts from the code, and no need of a network."""

import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
import yaml
from test_render_browser import BROWSER, LISTEN

import metarl_jax
from metarl_jax import envs, experiments, learners, outer

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
KINDS = {"learners": learners.registry, "tasks": envs.registry}
REMOTE = re.compile(
    r"<(?:script|link|img|iframe|source|object|embed|image|use)\b[^>]*?\b(?:src|href|data)="
    r"""["']?((?:https?:)?//[^"'\s>]+)"""
)


def module(name):
    """A module of `docs/site`, which is no package."""
    spec = importlib.util.spec_from_file_location(f"site_{name}", DOCS / "site" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def pages_of(nav):
    """Returns the files that a `nav` of mkdocs.yml lists."""
    if isinstance(nav, str):
        return [nav]
    entries = nav.values() if isinstance(nav, dict) else nav
    return [page for entry in entries for page in pages_of(entry)]


@pytest.mark.parametrize("kind", KINDS)
def test_everything_registered_has_a_page_with_its_facts(kind):
    shipped = set(KINDS[kind]._entries)
    assert {path.stem for path in (DOCS / kind).glob("*.md")} == shipped | {"index"}
    for name in shipped:
        assert "\n<!-- facts -->\n" in (DOCS / kind / f"{name}.md").read_text(), name


def test_the_contents_list_every_page_once():
    pages = pages_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    written = [*DOCS.rglob("*.md"), *(DOCS / "notebooks").glob("*.py")]
    assert sorted(pages) == sorted(str(p.relative_to(DOCS).with_suffix(".md")) for p in written)


def test_the_reference_names_everything_public():
    text = (DOCS / "api" / "index.md").read_text()
    assert [name for name in metarl_jax.__all__ if not re.search(rf"`mrl\.{name}\b", text)] == []


def test_facts_come_from_the_code():
    facts = module("facts")
    text = facts.fill("<!-- description -->\n\n<!-- facts -->", "tasks/grid_navi.md")
    env = envs.get("grid_navi")
    for field in dataclasses.fields(env):
        assert f"`--env.{field.name.replace('_', '-')}`, default `{field.default}`\n" in text
    assert f"| steps of an episode | {env().episode_length} |" in text
    for preset in experiments.names():
        assert (f"| `{preset}` |" in text) == (type(experiments.get(preset).env) is env)
    assert "Zintgraf et al." in text.partition("## References")[2]
    methods = facts.fill((DOCS / "outer_methods.md").read_text(), "outer_methods.md")
    for name in outer.names():
        assert f"## {name}\n" in methods
    assert "<!--" not in methods
    assert "`--outer.clip-eps`, default `0.2`\n" in methods


def test_drawings_are_those_of_the_script(tmp_path, monkeypatch):
    draw = module("draw")
    monkeypatch.setattr(draw, "PICTURES", tmp_path)
    draw.main()
    drawn = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert drawn == {path.name: path.read_text() for path in (DOCS / "pictures").glob("*.svg")}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built in strict mode: a broken link or anchor is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
def test_no_page_needs_a_network(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 70
    for page in pages:
        text = page.read_text()
        assert not REMOTE.findall(text), page
        assert not re.search(r"\$\$|\$<code>|<!-- (?:facts|table|flags|description)", text), page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(\s*[\"']?(?:https?:)?//", sheet.read_text()), sheet


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_built_pages_have_the_flags_of_what_they_describe(site, kind):
    section = {"learners": "learner", "tasks": "env"}[kind]
    for name in KINDS[kind]._entries:
        text = unescape((site / kind / f"{name}.html").read_text())
        for field in dataclasses.fields(KINDS[kind].get(name)):
            assert f"<code>--{section}.{field.name.replace('_', '-')}</code>" in text, name


PROBE = """<script>
setTimeout(() => {
  const query = document.querySelector("input[name=query]");
  query.focus(); query.value = "hypernetwork";
  query.dispatchEvent(new Event("input", { bubbles: true }));
  query.dispatchEvent(new KeyboardEvent("keyup", { bubbles: true }));
}, 1000);
setTimeout(() => {
  const found = { errors, page: document.documentElement.scrollWidth, window: innerWidth };
  found.matches = document.querySelectorAll(".md-search-result__item").length;
  found.requests = performance.getEntriesByType("resource").map(entry => entry.name);
  found.words = [...document.querySelectorAll(".drawn text")].map(word => word.getBoundingClientRect().height);
  found.equations = document.querySelectorAll("math").length;
  parent.postMessage(JSON.stringify(found), "*");
}, 8000);
</script>"""

FRAME = """<!doctype html><iframe src="{page}" width="{width}" height="900"></iframe><script>
addEventListener("message", event => {{
  if (typeof event.data != "string" || !event.data.includes('"errors"')) return;
  const report = document.createElement("pre");
  report.id = "report"; report.textContent = event.data; document.body.append(report);
}});
</script>"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("page", ["index.html", "learners/maml.html"])
def test_a_page_opened_as_a_file_works_in_a_browser(site, tmp_path, page, width):
    """Nothing fails or is fetched, search answers, and nothing is wider than the screen or too small to be read."""
    if BROWSER is None:
        pytest.skip("no chromium program is installed (Debian: apt-get install chromium)")
    listen = LISTEN.replace(
        "</script>",
        'addEventListener("error", event => errors.push(event.target.src || event.target.href || ""), true);</script>',
    )
    text = (site / page).read_text().replace("<title>", listen + "<title>", 1)
    probed = (site / page).with_name("probed.html")
    probed.write_text(text.replace("</body>", PROBE + "</body>"))
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(page=probed.as_uri(), width=width))
    flags = "--headless --no-sandbox --disable-gpu --window-size=1400,1000 --virtual-time-budget=15000 --dump-dom"
    rules = "--host-resolver-rules=MAP * ~NOTFOUND"
    command = [BROWSER, *flags.split(), rules, f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*command, frame.as_uri()], capture_output=True, text=True, timeout=300, check=True
    )
    report = re.search(r'<pre id="report">(.*?)</pre>', done.stdout, re.DOTALL)
    assert report, done.stderr[-2000:]
    found = json.loads(unescape(report.group(1)))
    assert found["errors"] == []
    assert all(address.startswith("file:") for address in found["requests"])
    assert found["window"] == width
    assert found["page"] <= width
    assert found["matches"] > 0
    assert min(found["words"]) > 9
    assert (found["equations"] > 0) == ("maml" in page)
