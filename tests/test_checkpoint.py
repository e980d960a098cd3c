"""Checkpoints: what is read back is what was saved, or it is found out."""

import resource
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.core.types import MetaState, TrainState
from metarl_jax.core.writing import WriteError
from metarl_jax.runs import checkpoint_writer
from metarl_jax.runs.checkpoint import (
    DamagedCheckpointError,
    load,
    load_best,
    load_latest,
    quarantine,
    saved_steps,
)
from metarl_jax.runs.checkpoint_structure import structure
from metarl_jax.runs.checkpoint_writer import CheckpointWriter
from metarl_jax.runs.progress import Progress


def make_state(step: int, size: int = 3000) -> TrainState:
    """Every kind of leaf that a run may have, different at each step."""
    key = jax.random.fold_in(jax.random.key(0), step)
    weights = jax.random.normal(key, (size,))
    return TrainState(
        step=jnp.int32(step),
        meta=MetaState(
            {"weights": weights, "half": weights[:4].astype(jnp.bfloat16)}, jnp.zeros((0, 2))
        ),
        opt_state=((), {"count": jnp.int32(step)}),
        key=key,
        consecutive_skips=jnp.int32(0),
    )


def abstract_state(**sizes) -> TrainState:
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = jax.eval_shape(lambda: make_state(0, **sizes))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)


def save_all(directory: Path, scores: dict[int, float | None], *, keep: int = 10) -> None:
    """Saves a state for every step, with its held-out return."""
    with CheckpointWriter(directory, keep=keep) as writer:
        best_return, best_step = None, None
        for step, score in scores.items():
            if score is not None and (best_return is None or score > best_return):
                best_return, best_step = score, step
            progress = Progress(10 * step, 0.5 * step, score, best_return, best_step)
            writer.save(make_state(step), [progress])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Checkpoints of the steps 1, 2 and 3, of which 2 is the best. To be copied."""
    directory = tmp_path_factory.mktemp("saved") / "checkpoints"
    save_all(directory, {1: -3.0, 2: -1.0, 3: -2.0})
    return directory


@pytest.fixture
def directory(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


def assert_same_state(state: TrainState, step: int):
    expected = make_state(step)
    assert structure(state) == structure(expected)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def largest_file(directory: Path) -> Path:
    """The file with the arrays."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def delete(path: Path):
    path.unlink()


def truncate(path: Path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path):
    path.write_bytes(b"")


def garble(path: Path):
    """One wrong byte, which Orbax alone reads without noticing."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def never(error):
    pytest.fail(f"reported as damaged: {error}")


def test_what_is_read_is_what_was_saved(saved):
    for step in (1, 2, 3):
        found = load(saved, step, abstract_state())
        assert_same_state(found.state, step)
        best = (-3.0, 1) if step == 1 else (-1.0, 2)
        score = float(-[3, 1, 2][step - 1])
        assert found.progress == [Progress(10 * step, 0.5 * step, score, *best)]


def test_the_saved_state_may_be_donated_at_once(tmp_path):
    advance = jax.jit(
        lambda state: state.replace(
            step=state.step + 1, meta=jax.tree.map(lambda x: x * 0, state.meta)
        ),
        donate_argnums=0,
    )
    with CheckpointWriter(tmp_path, keep=1) as writer:
        state = make_state(5)
        writer.save(state, [Progress()])
        advance(state)
    assert_same_state(load(tmp_path, 5, abstract_state()).state, 5)


def test_a_last_save_that_fails_in_the_background_is_an_error(tmp_path, capfd):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    (tmp_path / "config.json").write_text("{}")
    with (  # noqa: PT012 - the last save ends with the context.
        pytest.raises(WriteError, match=f"File too large.*metarl resume {tmp_path}`"),
        CheckpointWriter(tmp_path / "checkpoints", keep=3) as writer,
    ):
        writer.save(make_state(1), [Progress()])
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
            writer.save(make_state(2), [Progress()])
            writer.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert saved_steps(tmp_path / "checkpoints") == [1]
    assert capfd.readouterr().err == ""


def test_a_save_that_is_not_there_afterwards_is_an_error(tmp_path):
    writer = CheckpointWriter(tmp_path, keep=3)
    writer.save(make_state(1), [Progress()])
    shutil.rmtree(tmp_path / "1")
    with pytest.raises(WriteError, match="step 1 was not saved"):
        writer.wait()


def test_the_first_save_is_read_back(tmp_path, monkeypatch):
    """Orbax takes such a path for a pattern, and writes no array."""
    directory = tmp_path / "run[1]" / "checkpoints"
    directory.mkdir(parents=True)
    with pytest.raises(ValueError, match=r"\*, \? or \["):
        CheckpointWriter(directory, keep=1)
    monkeypatch.setattr(checkpoint_writer, "check_plain", lambda path: None)
    with (
        pytest.raises(WriteError, match="is not what is read"),
        CheckpointWriter(directory, keep=1) as writer,
    ):
        writer.save(make_state(1), [Progress()])


def test_the_latest_and_the_best_are_kept(tmp_path):
    save_all(tmp_path, {1: -3.0, 2: -1.0, 3: None, 4: -2.0, 5: -2.0, 6: None}, keep=2)
    assert saved_steps(tmp_path) == [2, 5, 6]
    save_all(tmp_path, {7: -0.5, 8: None, 9: None}, keep=1)
    assert saved_steps(tmp_path) == [7, 9]


def test_a_step_that_is_saved_again_keeps_its_arrays_and_has_the_new_progress(directory):
    """As after an evaluation that a signal had cut short."""
    arrays = {path: path.read_bytes() for path in (directory / "3" / "state").rglob("d/*")}
    assert arrays
    with CheckpointWriter(directory, keep=3) as writer:
        writer.save(make_state(3), [Progress(env_steps=99)])
    assert load(directory, 3, abstract_state()).progress[0].env_steps == 99
    assert {path: path.read_bytes() for path in arrays} == arrays


def test_another_state_of_a_step_replaces_the_one_before(directory):
    state = make_state(3)
    state = state.replace(meta=jax.tree.map(lambda x: x * 1.0001, state.meta))
    with CheckpointWriter(directory, keep=3) as writer:
        writer.save(state, [Progress(env_steps=99)])
        writer.save(make_state(4), [Progress()])
    found = load(directory, 3, abstract_state())
    np.testing.assert_array_equal(found.state.meta.params["weights"], state.meta.params["weights"])
    assert found.progress == [Progress(env_steps=99)]
    assert sorted(path.name for path in directory.iterdir()) == ["2", "3", "4"]


@pytest.mark.parametrize("harm", [delete, truncate, empty, garble])
@pytest.mark.parametrize("which", ["arrays", "state/manifest.ocdbt", "progress/metadata"])
def test_damage_is_reported_and_the_one_before_is_used(directory, harm, which, capfd):
    path = directory / "3"
    harm(largest_file(path) if which == "arrays" else path / which)
    reported = []
    found = load_latest(directory, abstract_state(), on_damage=reported.append)
    assert found is not None
    assert found.step == 2
    assert_same_state(found.state, 2)
    assert [error.path for error in reported] == [path]
    assert f"{path} is damaged" in str(reported[0])
    assert "\n" not in str(reported[0])
    assert path.exists()
    assert capfd.readouterr().err == ""


def test_another_number_in_the_progress_is_damage(directory):
    path = directory / "3" / "progress" / "metadata"
    path.write_text(path.read_text().replace('"env_steps": 30', '"env_steps": 31'))
    with pytest.raises(DamagedCheckpointError, match="checksum"):
        load(directory, 3, abstract_state())


def test_a_damaged_checkpoint_set_aside_lets_its_step_be_saved_again(directory):
    for expected in ("3.damaged", "3.damaged-2"):
        garble(largest_file(directory / "3"))
        content = largest_file(directory / "3").read_bytes()
        reported = []
        load_latest(directory, abstract_state(), on_damage=reported.append)
        kept = quarantine(reported[0])
        assert kept == directory / expected
        assert largest_file(kept).read_bytes() == content
        save_all(directory, {3: None})
        assert load_latest(directory, abstract_state(), on_damage=never).step == 3
    assert (directory / "3.damaged").exists()


def test_the_best_is_found_and_a_damaged_one_passed_over(directory):
    assert load_best(directory, abstract_state(), on_damage=never).step == 2
    garble(largest_file(directory / "2"))
    reported = []
    assert load_best(directory, abstract_state(), on_damage=reported.append).step == 3
    assert len(reported) == 1


def test_without_evaluations_the_latest_counts_as_best(tmp_path):
    save_all(tmp_path, {1: None, 2: None})
    assert load_best(tmp_path, abstract_state(), on_damage=never).step == 2


def test_nothing_to_read(tmp_path):
    assert load_latest(tmp_path, abstract_state(), on_damage=never) is None
    assert load_best(tmp_path / "missing", abstract_state(), on_damage=never) is None


def test_an_unfinished_save_is_not_a_checkpoint(directory):
    (directory / "3").rename(directory / "3.orbax-checkpoint-tmp")
    assert saved_steps(directory) == [1, 2]
    with CheckpointWriter(directory, keep=5) as writer:
        writer.save(make_state(3), [Progress()])
    assert load_latest(directory, abstract_state(), on_damage=never).step == 3


def test_another_configuration_is_no_damage(directory):
    with pytest.raises(
        ValueError, match=r"\['weights'\] is float32\[3000\] in it, and float32\[7\]"
    ):
        load_latest(directory, abstract_state(size=7), on_damage=never)


def test_restored_arrays_lie_where_they_are_asked_for(saved):
    mesh = jax.make_mesh((2,), ("tasks",), axis_types=(jax.sharding.AxisType.Auto,))
    replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    wanted = jax.tree.map(lambda x: x.update(sharding=replicated), abstract_state())
    state = load(saved, 3, wanted).state
    assert all(leaf.sharding == replicated for leaf in jax.tree.leaves(state))
    assert_same_state(state, 3)
