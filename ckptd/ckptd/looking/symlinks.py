"""What is known of the symbolic links below a root after one more look."""

from __future__ import annotations

import os
from collections.abc import Callable

from ckpt.scan import Links, Survey


def seen(known: Links, below: str, survey: Survey, is_unknown: Callable[[str], bool]) -> Links:
    """The links after a look at a directory; the same object where nothing changed.

    Those that were not found stay known where `is_unknown` says of their directory that they may only be out of sight.
    """
    before = set(known.below(below))
    if before == set(survey.symlinks):
        return known
    found = {link for link, _ in survey.symlinks}
    lost = {pair for pair in before if pair[0] not in found}
    hidden = {place for place in {os.path.dirname(link) for link, _ in lost} if is_unknown(place)}
    kept = (pair for pair in lost if os.path.dirname(pair[0]) in hidden)
    others = (pair for pair in known.pairs if pair not in before and pair[0] not in found)
    links = Links((*others, *kept, *survey.symlinks))
    return known if links == known else links


def any_gone(known: Links, directory: str) -> bool:
    """Whether a link that lay in a directory is none any more."""
    return not all(map(os.path.islink, known.directly_in(directory)))
