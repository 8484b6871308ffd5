"""The parser of the commands: errors that name the option and the nearest valid spelling, and help on two levels."""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import IO, Any, NoReturn

from tinygrad_cifar.cli.common import WIDTH, UsageError
from tinygrad_cifar.course.setting_fields import shorten
from tinygrad_cifar.system.arguments import suggest

_OF_ARGPARSE = re.compile(r"argument ([^:]+): ")


class Parser(argparse.ArgumentParser):
    """A parser that raises its errors, with a help text of at most 80 columns.

    Parameters
    ----------
    description : str
        First lines of the help.
    basic : sequence of str
        Names of the arguments in the short help, in their order; all others are shown by ``--help-all``. If empty, the
        help shows all, and ``--help-all`` is accepted but not shown.
    example : str
        Last lines of the short help.
    synonyms : mapping of str to str
        Options of other programs, each with the option here that an error proposes.
    **options
        As for :class:`argparse.ArgumentParser`.
    """

    def __init__(
        self,
        *,
        description: str = "",
        basic: Sequence[str] = (),
        example: str = "",
        synonyms: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            description=textwrap.fill(description, WIDTH),
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **options,
        )
        self._basic, self._example, self._synonyms = basic, example, synonyms or {}
        text = "show all options and exit" if basic else argparse.SUPPRESS
        self.add_argument("--help-all", action=_HelpAll, nargs=0, default=argparse.SUPPRESS, help=text)

    def format_help(self) -> str:
        """Return the short help."""
        if not self._basic:
            return super().format_help()
        named = {name: action for action in self._actions for name in (*action.option_strings, action.dest)}
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, [], [])
        formatter.add_text(self.description)
        formatter.start_section("most used")
        formatter.add_arguments([named[name] for name in self._basic])
        formatter.end_section()
        formatter.add_text(f"{self._example.strip()}\n\nAll options, defaults and examples: {self.prog} --help-all")
        return formatter.format_help()

    def format_full_help(self) -> str:
        """Return the help with all options."""
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Raise an error for invalid options."""
        found = _OF_ARGPARSE.match(message)
        if found:
            name, rest = found[1].partition("/")[0], message[found.end() :]
            message = f"{name} {rest}" if rest.startswith("must ") else f"{name}: {rest}"
        raise UsageError(f"{message} (see `{self.prog} --help`)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments, after refusing options that do not exist; argparse would look at their values first."""
        args = sys.argv[1:] if args is None else args
        for word in args:
            if self._subparsers is not None and not word.startswith("-"):
                break  # the options after a command are those of the command
            if word == "--":
                break
            self._check_option(word.partition("=")[0])
        options, others = super().parse_known_args(args, namespace)
        if others:  # argparse would refer to the help of the main command
            self.error(f"unrecognized arguments: {' '.join(map(shorten, others))}")
        return options, others

    def _check_option(self, word: str) -> None:
        if not word.startswith("-") or word == "-" or word in self._option_string_actions or _is_number(word):
            return
        for action in self._actions:
            if not action.option_strings and word[2:] in (action.dest, str(action.metavar).lower()):
                example = str(next(iter(action.choices)) if action.choices else action.metavar)
                self.error(f"unknown option {word}; give the {word[2:]} without an option: {self.prog} {example}")
        shown = [name for name, action in self._option_string_actions.items() if action.help != argparse.SUPPRESS]
        renamed = {
            name: action.present
            for name, action in self._option_string_actions.items()
            if isinstance(action, RenamedOption)
        }
        self.error(f"unknown option {shorten(word)[1:-1]}{suggest(word, shown, renamed | dict(self._synonyms))}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a value that is not one of the choices, with the nearest one."""
        if action.choices is not None and value not in action.choices:
            choices = list(map(str, action.choices))
            name = action.option_strings[0] if action.option_strings else str(action.metavar or action.dest)
            text = f"{name} must be one of {', '.join(choices)}; got {shorten(str(value))}"
            self.error(text + suggest(str(value), choices, {}))

    def _print_message(self, message: str, file: IO[str] | None = None) -> None:  # type: ignore[override]
        """Print a help text or the version; argparse ignores that the output cannot be written."""
        if message and file is not None:
            file.write(message)


class RenamedOption(argparse.Action):
    """An option of earlier versions, refused with its present name."""

    def __init__(self, *, present: str, **declared: Any) -> None:
        super().__init__(nargs="?", default=argparse.SUPPRESS, help=argparse.SUPPRESS, **declared)
        self.present = present

    def __call__(
        self, parser: argparse.ArgumentParser, _: argparse.Namespace, __: Any, option: str | None = ""
    ) -> None:
        """Raise the error."""
        parser.error(f"{option} is now {self.present}")


class _HelpAll(argparse.Action):
    """The option that prints the help with all options."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        if isinstance(parser, Parser):
            print(parser.format_full_help(), end="")
        parser.exit()


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
