"""The typer application: global flags, and the commands in the order in which a user needs them."""

import os
import signal
import sys
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from windvane._version import __version__
from windvane.cli.common.compiler_stub import spare_the_compiler
from windvane.cli.common.errors import guarded, warned
from windvane.cli.common.memory import bound_memory
from windvane.invocation import carrying_out
from windvane.registry import entries, find, known_names

PROGRESS_VARIABLE = "WINDVANE_PROGRESS"
GLOBAL_FLAGS = ("--debug", "--quiet")
#: Their commands say what is missing, each in its own words.
_MAY_BE_EMPTY = ("--text", "--calls", "--solvers", "--weights")


class OneLineGroup(TyperGroup):
    """The registered commands, with errors of one line on standard error, in a shell as in the tests' runner.

    The module of a command is imported when that command runs or is asked for its help.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, those of other packages last."""
        return list(known_names("command"))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name, or None."""
        if cmd_name not in self.commands:
            try:
                function = find("command", cmd_name).load()
            except ValueError:
                if cmd_name in known_names("command"):
                    raise
                return None
            alone = typer.Typer(add_completion=False, rich_markup_mode=None)
            alone.command(cmd_name)(function)
            self.commands[cmd_name] = typer.main.get_command(alone)
        return self.commands[cmd_name]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Each with its line of help, without importing any."""
        rows = entries("command")
        limit = formatter.width - 6 - max(len(row.name) for row in rows)
        told = [
            (row.name, TyperCommand(row.name, help=f"{row.help}.").get_short_help_str(limit)) for row in rows
        ]
        with formatter.section("Commands"):
            formatter.write_dl(told)

    def main(
        self,
        args: Any = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        words = global_flags_first(sys.argv[1:] if args is None else list(args)) or ["--help"]
        own = [word for place, word in enumerate(words) if word not in GLOBAL_FLAGS or "--" in words[:place]]

        def call() -> Any:
            check_words(words)
            return super(OneLineGroup, self).main(
                words, prog_name or "windvane", complete_var, False, windows_expand_args, **extra
            )

        before = os.environ.get(PROGRESS_VARIABLE)
        with warnings.catch_warnings(), carrying_out(own):
            warnings.showwarning = warned  # type: ignore[assignment]
            code = guarded(call, debug="--debug" in words)
        if before is not None:  # --quiet lasts as long as its command, also where one process runs several
            os.environ[PROGRESS_VARIABLE] = before
        else:
            os.environ.pop(PROGRESS_VARIABLE, None)
        if not standalone_mode:
            return code
        sys.exit(code)


def global_flags_first(words: list[str]) -> list[str]:
    """`windvane train x --debug` is `windvane --debug train x`: a flag for everything may stand anywhere."""
    end = words.index("--") if "--" in words else len(words)
    front = [word for word in words[:end] if word in GLOBAL_FLAGS]
    return front + [word for word in words[:end] if word not in GLOBAL_FLAGS] + words[end:]


def check_words(words: list[str]) -> None:
    """Refuse an empty argument: as a path it would be the working folder, which nobody has named.

    Raises:
        ValueError: names the flag it follows, if any.
    """
    for before, word in zip(["", *words], words):
        if word == "" and before not in _MAY_BE_EMPTY:
            what = f"{before} is empty" if before.startswith("-") else "an argument is empty"
            raise ValueError(f"{what}; is a variable of the shell not set?")


app = typer.Typer(
    cls=OneLineGroup,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="First steps: windvane demo. Your own images: windvane train FOLDER --out RUN --annotate 30.",
)


def _version(asked: bool) -> None:
    if asked:
        print(f"windvane {__version__}")
        raise typer.Exit()


@app.callback()
def windvane(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Steer diffusion models with labels that they find themselves in unlabelled images."""
    if quiet:
        os.environ[PROGRESS_VARIABLE] = "0"


def main() -> None:
    """Entry point of the `windvane` script; never returns."""
    for name in ("SIGTERM", "SIGHUP"):
        # Asked to end, or left by its terminal, a command ends as at Ctrl-C: with a line, all locks let go.
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    bound_memory()
    spare_the_compiler()
    app()
