"""The filter language of `ckpt ls --filter`, of the API and of the dashboard, and the order of `--sort`.

    FILTER   TERM | not FILTER | FILTER and FILTER | FILTER or FILTER | ( FILTER )
    TERM     NAME OP VALUE      val_loss<0.2   size>1GB   age<2d   state=complete   tag=paper   name=step-*
             has:NAME           the row has a value there, finite or not, that is neither empty nor false
             PATTERN            a glob over what the row is called: exp*   step-00*
    OP       <  <=  >  >=  =  ==  !=

`not` binds tighter than `and`, `and` tighter than `or`. A NAME may be a glob: it fits when one of the fields that it
stands for does. Names and values with other characters stand in quotes. Text is compared as a glob, without regard to
case; of several texts, as of tags, one has to fit. A row without the field fits no comparison; `not has:NAME` finds it.
NaN is neither below nor above anything; `NAME=nan` finds it.

Numbers may have a unit: k M G T, kB MB GB TB, KiB MiB GiB TiB; for `age` s m h d w y. Fields that end in `_at` are
compared with dates: saved_at>2026-07-01.
"""

from ckpt.filters.choosing import Choice, Chosen, ordered, unknown_names
from ckpt.filters.fields import checkpoint_fields, run_fields
from ckpt.filters.grammar import Filter, parse
from ckpt.filters.values import Fields, Value

__all__ = [
    "Choice",
    "Chosen",
    "Fields",
    "Filter",
    "Value",
    "checkpoint_fields",
    "ordered",
    "parse",
    "run_fields",
    "unknown_names",
]
