"""`metarl`: the command line. Exit codes: 0 success, 1 problem found (doctor), 2 bad input, 3 diverged, 4 another
process of the run was lost, 130 interrupted."""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import FrameType

from metarl_jax.core.errors import UserError
from metarl_jax.core.registry import suggestion
from metarl_jax.core.version import __version__
from metarl_jax.runs.stopping import Diverged, Interrupted, handle_signals, is_working, tell_stderr

COMMANDS = {
    "train": ("metarl_jax.cli.train:train", "meta-train a preset, or a learner in an environment"),
    "sweep": (
        "metarl_jax.cli.sweep:main",
        "train every combination of values and seeds in one program",
    ),
    "search": (
        "metarl_jax.cli.search:main",
        "search for the best hyperparameters, in any number of processes",
    ),
    "check": ("metarl_jax.cli.check:main", "check a class of your own before training with it"),
    "resume": ("metarl_jax.cli.train:resume", "go on with a run or a sweep that was stopped"),
    "eval": ("metarl_jax.cli.evaluate:main", "evaluate a run on held-out tasks"),
    "compare": (
        "metarl_jax.cli.compare:main",
        "held-out returns of runs and sweeps, side by side",
    ),
    "render": ("metarl_jax.cli.render:main", "an agent at work in held-out tasks, as a page"),
    "export": ("metarl_jax.cli.export:main", "one file that acts and adapts without metarl_jax"),
    "plot": ("metarl_jax.cli.plot:main", "learning and adaptation curves, side by side"),
    "report": ("metarl_jax.cli.report:main", "one page of runs: configuration, curves, tables"),
    "controls": (
        "metarl_jax.cli.controls:main",
        "known strategies and ceilings on an environment",
    ),
    "list": ("metarl_jax.cli.list:main", "presets, environments, learners, outer methods"),
    "bench": (
        "metarl_jax.cli.bench:main",
        "throughput: the simulator alone, the meta-step",
    ),
    "structure": (
        "metarl_jax.cli.modules:main",
        "modules, routing and connections that a run has learned",
    ),
    "bias": ("metarl_jax.cli.bias:main", "meta-gradient estimators, against the exact one"),
    "doctor": ("metarl_jax.cli.doctor:main", "versions, devices, and known bad combinations"),
}
"""Commands by name: `"module:function"`, imported on use, and a line of help."""

PLAIN = ("list",)
"""Commands that import JAX themselves, if they need it."""

DONE, BAD_INPUT, DIVERGED, LOST, INTERRUPTED = 0, 2, 3, 4, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `metarl` with these words; returns the exit code.

    By default these are the arguments of the process; signals then end it with one line.
    """
    if isinstance(
        sys.stdout, io.TextIOWrapper
    ):  # a terminal or file in ASCII or Latin-1 gets question marks
        sys.stdout.reconfigure(errors="replace")
    if argv is not None:
        return _guarded(list(argv))
    handle_signals(_leave)
    code = _guarded(sys.argv[1:])
    if is_working() or code == LOST:
        # A compilation that was not waited for, or a process that has ended: the interpreter would wait for it now.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code)
    return code


def _leave(number: int, frame: FrameType | None) -> None:
    """Ends the process if nothing needs saving; training has its own handlers. An exception might be caught by code
    that imports or compiles at that moment.
    """
    del number, frame
    show_cursor = "\x1b[?25h" if sys.stderr and sys.stderr.isatty() else ""  # a spinner hides it
    tell_stderr(f"{show_cursor}\nmetarl: interrupted\n")
    os._exit(INTERRUPTED)


def _guarded(args: list[str]) -> int:
    """Runs a command and returns its exit code; prints errors as one line."""
    try:
        return _dispatch(args)
    except SystemExit as exit_:  # tyro leaves so after --help
        return exit_.code if isinstance(exit_.code, int) else DONE
    except BrokenPipeError:
        # Who read the output has left, as in `metarl list | head -1`; nothing is left to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except OSError as error:
        return _fail(str(error), BAD_INPUT)
    except UserError as error:
        if "METARL_TRACEBACK" in os.environ:
            raise
        return _fail(str(error), BAD_INPUT)


def run_preset(name: str) -> None:
    """Runs `python experiments/….py --…` as `metarl train PRESET --…`."""
    sys.argv[1:1] = ["train", name]
    sys.exit(main())


def _dispatch(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help", "help"):
        print(_help())
        return DONE if args else BAD_INPUT
    if args[0] == "--version":
        print(f"metarl_jax {__version__}")
        return DONE
    name, *rest = args
    if name not in COMMANDS:
        hint = suggestion(name, list(COMMANDS))
        raise UserError(f"unknown command {name!r}{hint or ': see metarl --help'}")
    module, function = COMMANDS[name][0].split(":")
    command: Callable[[list[str]], int] = getattr(import_module(module), function)
    return command(rest) if name in PLAIN else _run(command, rest)


def _run(command: Callable[[list[str]], int], args: list[str]) -> int:
    """Returns the exit code of a command, also if training stopped early."""
    from metarl_jax.core.jax_settings import fixed_settings
    from metarl_jax.runs.processes import LostProcessError

    try:
        with fixed_settings():
            return command(args)
    except Interrupted as stop:
        return _fail(str(stop), INTERRUPTED, kind="")
    except Diverged as error:
        return _fail(str(error), DIVERGED)
    except LostProcessError as error:
        return _fail(str(error), LOST)


def _fail(message: str, code: int, kind: str = "error: ") -> int:
    with contextlib.suppress(OSError):  # The exit code says it where nobody reads any more.
        print(f"metarl: {kind}{message}", file=sys.stderr)
    return code


def _help() -> str:
    commands = "\n".join(f"  {name:8} {what}" for name, (_, what) in COMMANDS.items())
    return f"""usage: metarl COMMAND [OPTIONS]

Meta-reinforcement learning as one compiled step.

commands:
{commands}

  metarl list
  metarl train maml-point-robot --seed 1
  metarl train rl2 --env grid_navi
  metarl train rl2 --env path/to/file.py:MyTasks
  metarl train rl2-bandit --num-meta-steps 100 --run-dir runs/mine
  metarl eval runs/maml-point-robot-seed0 --split ood
  metarl sweep maml-point-robot --grid learner.inner-lr=0.03,0.1 --seeds 4
  metarl search rl2-bandit --space outer.learning-rate=1e-4..1e-2:log --trials 50

`metarl COMMAND --help` says more; `metarl train PRESET --help` shows every option.
On a CPU every usable core is a device, unless JAX_NUM_CPU_DEVICES says otherwise.
Compiled programs are kept in ~/.cache/metarl_jax, so that the next start of the same one takes seconds
(--runtime.no-compilation-cache or JAX_ENABLE_COMPILATION_CACHE=false: not).

METARL_TRACEBACK=1 shows where an error comes from.

exit codes: 0 done, 1 something is wrong (doctor), 2 bad input, 3 diverged, 4 another process of the run
was lost, 130 interrupted"""


if __name__ == "__main__":
    sys.exit(main())
