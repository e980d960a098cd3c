"""The folder of compiled programs: what is kept where, and that a torn entry costs a compilation and nothing more."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import jax

from metarl_jax.cli.compilation_cache import is_whole, keep_programs, remove_torn

PROGRAM = """
import jax, jax.numpy as jnp
from metarl_jax.cli.compilation_cache import keep_programs
folder = keep_programs({enabled})
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event))
result = float(jax.jit(lambda x: jnp.sin(x).sum())(jnp.arange(5.0)))
print(folder, result, hits.count("/jax/compilation_cache/cache_hits"))
"""


def start(tmp_path, enabled=True, **environment) -> tuple[str, float, int]:
    """The folder, the result of a program and how many were loaded, in a process of its own."""
    variables = {n: x for n, x in os.environ.items() if not n.startswith("JAX_COMPILATION")}
    variables |= {"XDG_CACHE_HOME": str(tmp_path)} | environment
    variables["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    code = PROGRAM.format(enabled=enabled)
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    folder, result, hits = done.stdout.split()
    return folder, float(result), int(hits)


def test_programs_are_kept_and_a_torn_one_is_compiled_and_kept_again(tmp_path):
    folder, result, hits = start(tmp_path)
    assert folder.startswith(str(tmp_path / "metarl_jax" / "programs"))
    assert not hits
    entries = sorted(Path(folder).glob("*-cache"))
    assert entries
    assert all(is_whole(entry.read_bytes()) for entry in entries)
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:-7])
        assert not is_whole(entry.read_bytes())
    assert start(tmp_path)[1:] == (result, 0)
    assert start(tmp_path)[1:] == (result, len(entries))


def test_programs_are_not_kept_where_that_is_turned_off(tmp_path):
    assert start(tmp_path, enabled=False)[0] == "None"
    assert start(tmp_path, JAX_ENABLE_COMPILATION_CACHE="false")[0] == "None"
    assert not list(tmp_path.rglob("*-cache"))
    mine = tmp_path / "mine"
    assert start(tmp_path, JAX_COMPILATION_CACHE_DIR=str(mine))[0] == str(mine)
    assert list(mine.glob("*-cache"))


def test_what_a_kill_leaves_is_removed(tmp_path):
    """JAX writes an entry, and then the time of its last use."""
    whole = zlib.compress(b"a program")
    for name, content in {"a": whole, "b": whole, "c": whole[:5], "d": b""}.items():
        (tmp_path / f"{name}-cache").write_bytes(content)
        if name != "b":
            (tmp_path / f"{name}-atime").write_bytes(b"\0" * 8)
    assert remove_torn(tmp_path)
    assert [path.name for path in sorted(tmp_path.glob("*-*"))] == ["a-atime", "a-cache"]


def test_a_folder_that_cannot_be_written_is_told_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "metarl_jax").write_text("a file in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    said = []
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        assert keep_programs(True, said.append) is None
        assert jax.config.values["jax_compilation_cache_dir"] is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert len(said) == 1
    assert "XDG_CACHE_HOME" in said[0]
