"""All checks, in the order in which a person reads them. Pure: facts in, judgements out."""

from __future__ import annotations

from ckpt_tui.doctor import daemon_checks, machine_checks
from ckpt_tui.doctor.check import Check
from ckpt_tui.doctor.facts import Facts


def check_all(facts: Facts) -> list[Check]:
    """Every judgement on the facts."""
    return [*machine_checks.check_machine(facts), *daemon_checks.check_daemon(facts)]
