"""What helps to find faults of a run: the operation that gives the first nan, and a trace."""

import dataclasses
import gzip
import json

import pytest
from probes import CHEAP, RandomWalk, Silent

from metarl_jax.runs.profiling import Profile
from metarl_jax.runs.stopping import Diverged
from metarl_jax.runs.train import train


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr("metarl_jax.runs.report.draw", lambda *args: False)


def test_the_line_that_gives_the_first_nan_is_named(tmp_path):
    config = dataclasses.replace(CHEAP, outer=RandomWalk(break_after=2))
    with pytest.raises(Diverged, match=r"meta-step 3 .*probes\.py:\d+: .*jnp\.where\(broken"):
        train(config, tmp_path / "run", debug_nans=True, console=Silent())


def test_a_trace_of_the_second_chunk_is_written_for_tensorboard_and_perfetto(tmp_path):
    said = []
    train(
        dataclasses.replace(CHEAP, num_meta_steps=6),
        tmp_path / "run",
        callbacks=[Profile(tmp_path / "trace", said.append)],
        console=Silent(),
    )
    assert said == [f"the trace in {tmp_path / 'trace'} is up to step 4"]
    assert list((tmp_path / "trace").glob("plugins/profile/*/*.xplane.pb"))
    (perfetto,) = (tmp_path / "trace").glob("plugins/profile/*/perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(perfetto.read_bytes()))["traceEvents"]
    assert any("chunk" in event.get("name", "") for event in events)
