# Copyright (c) csd_mmrazor developers. All rights reserved.
import argparse
import re
import sys
from os.path import expanduser
from typing import Any, List, NoReturn, Optional, Sequence, Tuple

from ..utils.suggestions import closest, did_you_mean

# At the start of a word, or of the value of an option.
_HOME = re.compile(r'(?<![^=])~(?=/)')


class Parser(argparse.ArgumentParser):
    """A parser that says what a misspelt option might mean.

    A required one that is misspelt is told of as missing by ``argparse``, so
    each option that was given is looked at, whatever the error. Options are
    not shortened: what is short for one today may be for two tomorrow.
    """

    _given: Sequence[str] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def parse_known_args(  # type: ignore[override]
        self,
        args: Optional[Sequence[str]] = None,
        namespace: Optional[argparse.Namespace] = None,
    ) -> Tuple[argparse.Namespace, List[str]]:
        """As ``argparse`` does; keeps what was given.

        A ``~/`` at the start of a path is the user's folder, which shells do
        not say behind ``--option=``.
        """
        given = sys.argv[1:] if args is None else args
        self._given = [
            _HOME.sub(lambda _: expanduser('~'), word) for word in given
        ]
        return super().parse_known_args(self._given, namespace)

    def error(self, message: str) -> NoReturn:
        """End the program with a message, which a usage would bury."""
        told = f'{self.prog}: error: {message}{self._meant()}'
        self.exit(2, f'{told}\nAll options: {self.prog} --help\n')

    def _meant(self) -> str:
        known = [o for o in self._option_string_actions if o[:2] == '--']
        meant = []
        for word in self._given:
            option = word.partition('=')[0]
            if option[:2] != '--' or option in known:
                continue
            longer = [o for o in known if o.startswith(option)]
            close = (longer or [closest(option, known, 0.6)])[0]
            if close:
                meant.append(f'{close} in place of {option}')
        return f'. Did you mean {", ".join(meant)}?' if meant else ''

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            choices = [*map(str, action.choices or ())]
            meant = did_you_mean(value, choices)
            error.message += f'.{meant}' if meant else ''
            raise
