"""Whether an optimizer or a scheduler can go on with a state: what torch takes without a word, and fails on later."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch.nn.parameter import is_lazy

_SWITCHES = frozenset({"foreach", "fused", "capturable", "differentiable", "maximize", "decoupled_weight_decay"})
"""Settings of groups that newer versions of torch have; each fills in those that a state of an older one lacks."""

_SETTINGS = frozenset(
    {
        "amsgrad",
        "betas",
        "eps",
        "weight_decay",
        "momentum",
        "nesterov",
        "dampening",
        "alpha",
        "centered",
        "rho",
        "lr_decay",
        "initial_accumulator_value",
        "lambd",
        "t0",
        "etas",
        "step_sizes",
        "history_size",
        "max_iter",
        "max_eval",
        "tolerance_grad",
        "tolerance_change",
        "line_search_fn",
        "momentum_decay",
        "beta2_decay",
        "d",
        "ns_coefficients",
        "ns_steps",
        "adjust_lr_fn",
    }
)
"""Settings of groups that belong to some kinds of torch's optimizers and not to others."""

_DECOUPLED = "decoupled_weight_decay"
"""What alone tells the groups of Adam and of AdamW apart."""

_OF_ONE_CYCLE = frozenset({"max_lr", "min_lr"})
"""What a scheduler of one cycle keeps in the groups of its optimizer, and looks for at each step."""

_KEPT: dict[str, frozenset[str]] = {
    "ASGD": frozenset({"step", "eta", "mu", "ax"}),
    "Adadelta": frozenset({"step", "square_avg", "acc_delta"}),
    "Adagrad": frozenset({"step", "sum"}),
    "Adam": frozenset({"step", "exp_avg", "exp_avg_sq"}),
    "AdamW": frozenset({"step", "exp_avg", "exp_avg_sq"}),
    "Adamax": frozenset({"step", "exp_avg", "exp_inf"}),
    "NAdam": frozenset({"step", "exp_avg", "exp_avg_sq", "mu_product"}),
    "RAdam": frozenset({"step", "exp_avg", "exp_avg_sq"}),
    "RMSprop": frozenset({"step", "square_avg"}),
    "Rprop": frozenset({"step", "prev", "step_size"}),
    "SparseAdam": frozenset({"step", "exp_avg", "exp_avg_sq"}),
}
"""What torch's optimizers look for in the state of a parameter that has one."""

_LIKE_PARAMETERS = frozenset(
    {
        "acc_delta",
        "ax",
        "exp_avg",
        "exp_avg_sq",
        "exp_inf",
        "grad_avg",
        "max_exp_avg_sq",
        "momentum_buffer",
        "prev",
        "square_avg",
        "sum",
    }
)
"""What torch's optimizers keep in the shape of a parameter, and do not check when they take it."""

_ADDED = frozenset({"verbose", "default_min_lr", "use_beta1"})
"""What schedulers of some versions of torch tell and those of others do not."""


def unfit_optimizer(optimizer: Any, state: Mapping[str, Any]) -> str | None:
    """What speaks against an optimizer taking a state, as a sentence; None when nothing does. Pure."""
    own = optimizer.param_groups
    groups = state.get("param_groups")
    try:
        saved = [list(group.get("params", ())) for group in groups or ()]
    except (AttributeError, TypeError):
        return "the optimizer state has no groups of parameters"
    sizes, own_sizes = [len(numbers) for numbers in saved], [len(group["params"]) for group in own]
    if sizes != own_sizes:
        return f"the optimizer state has groups of {sizes} parameters, the optimizer of {own_sizes}"
    moments = state.get("state")
    if not isinstance(moments, Mapping):
        return "the optimizer state has no states of parameters"
    numbers = list(chain.from_iterable(saved))
    if len(set(numbers)) != len(numbers):
        return "the optimizer state names a parameter twice"
    if not _is_torchs(optimizer):
        return _unfit_keys(moments, numbers, [key for key in moments if isinstance(key, int) or str(key).isdigit()])
    parameters = [parameter for group in own for parameter in group["params"]]
    return (
        _unfit_names(own, groups or ())
        or _unfit_keys(moments, numbers, list(moments))
        or _unfit_settings(optimizer, groups or ())
        or _unfit_moments(type(optimizer).__name__, moments, numbers, parameters)
    )


def by_names(optimizer: Any, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """An optimizer's state with the parameters of each group in the order of their names in the optimizer. Pure.

    Torch goes by the order alone. Where either side has no names, that is all there is.
    """
    groups = []
    for own, saved in zip(optimizer.param_groups, state["param_groups"], strict=True):
        names, saved_names = _names(own), _names(saved)
        if names is None or saved_names is None or names == saved_names:
            groups.append(saved)
            continue
        number = dict(zip(saved_names, saved["params"], strict=True))
        told = {**saved, "params": [number[name] for name in names], "param_names": own["param_names"]}
        groups.append(told)
    return {**state, "param_groups": groups}


def unfit_scheduler(scheduler: Any, state: Any) -> str | None:
    """What speaks against a scheduler of torch's taking a state, as a sentence; None when nothing does. Pure."""
    if not (isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler) and _is_torchs(scheduler)):
        return None
    kind = type(scheduler).__name__
    if not isinstance(state, Mapping):
        return f"the scheduler state is a {type(state).__name__}, not that of a {kind}"
    own = scheduler.state_dict()
    missing = sorted(str(key) for key in own.keys() - state.keys() if _is_setting(key))
    strange = sorted(str(key) for key in state.keys() - own.keys() if _is_setting(key))
    if missing or strange:
        told = [f"it has no {', '.join(missing)}"] if missing else []
        told += [f"it has {', '.join(strange)}"] if strange else []
        return f"the scheduler state is not that of a {kind}: {'; '.join(told)}"
    rates, own_rates = state.get("base_lrs"), own.get("base_lrs")
    if isinstance(rates, list) and isinstance(own_rates, list) and len(rates) != len(own_rates):
        return f"the scheduler state is of {len(rates)} groups of parameters, the {kind} of {len(own_rates)}"
    inner, own_inner = state.get("_schedulers"), getattr(scheduler, "_schedulers", None)
    if own_inner is None:
        return None
    if not isinstance(inner, list | tuple) or len(inner) != len(own_inner):
        return f"the scheduler state is not that of a {kind} of {len(own_inner)} schedulers"
    problems = (unfit_scheduler(*pair) for pair in zip(own_inner, inner, strict=True))
    return next((problem for problem in problems if problem), None)


def _is_torchs(item: Any) -> bool:
    return f"{type(item).__module__}.".startswith("torch.optim.")


def _is_setting(key: Any) -> bool:
    """Whether a key tells kinds of schedulers apart; not so those that versions of torch add."""
    return key not in _ADDED and (not str(key).startswith("_") or key in ("_schedulers", "_milestones"))


def _unfit_names(own: list[Any], groups: Any) -> str | None:
    for mine, saved in zip(own, groups, strict=True):
        names, saved_names = _names(mine), _names(saved)
        if names is None or saved_names is None:
            continue
        if len(saved_names) != len(saved["params"]) or set(names) != set(saved_names):
            only = sorted(set(saved_names) ^ set(names))[:5]
            return f"the optimizer state and the optimizer name other parameters: {', '.join(only)}"
    return None


def _names(group: Mapping[str, Any]) -> list[str] | None:
    """The names of a group's parameters without the marks of wrappers; None when it has none, or one twice."""
    names = group.get("param_names")
    if not isinstance(names, list | tuple):
        return None
    plain = [str(name).replace("_orig_mod.", "").removeprefix("module.") for name in names]
    return plain if len(set(plain)) == len(plain) else None


def _unfit_keys(moments: Mapping[Any, Any], numbers: list[Any], keys: list[Any]) -> str | None:
    strange = [repr(key)[:40] for key in keys if key not in set(numbers)]
    return (
        f"the optimizer state is of parameters that none of its groups has: {', '.join(strange[:5])}"
        if strange
        else None
    )


def _unfit_settings(optimizer: Any, groups: Any) -> str | None:
    """What tells that the groups are those of another kind of optimizer. Pure."""
    kind = type(optimizer).__name__
    for group, own in zip(groups, optimizer.param_groups, strict=True):
        needed = (optimizer.defaults.keys() - _SWITCHES) | (_OF_ONE_CYCLE & own.keys())
        missing = sorted(needed - group.keys())
        strange = sorted((group.keys() & _SETTINGS) - own.keys())
        said = [f"it has no {', '.join(missing)}"] if missing else []
        said += [f"it has {', '.join(strange)}"] if strange else []
        if kind in ("Adam", "AdamW") and group.get(_DECOUPLED, own.get(_DECOUPLED)) != own.get(_DECOUPLED):
            said.append(f"it has another {_DECOUPLED}")
        if said:
            return f"the optimizer state is not that of a {kind}: {'; '.join(said)}"
    return None


def _unfit_moments(kind: str, moments: Mapping[Any, Any], numbers: list[Any], parameters: list[Any]) -> str | None:
    """What speaks against what an optimizer keeps for each parameter: what is not there, or is of another size."""
    for number, parameter in zip(numbers, parameters, strict=True):
        held = moments.get(number)
        if held is not None and not isinstance(held, Mapping):
            return f"the optimizer's state of parameter {number} is a {type(held).__name__}"
        if not held:
            continue
        missing = sorted(_KEPT.get(kind, frozenset()) - held.keys())
        if missing:
            return f"the optimizer state is not that of a {kind}: parameter {number} has no {', '.join(missing)}"
        for name, value in held.items():
            if name not in _LIKE_PARAMETERS or value is None or is_lazy(parameter):
                continue
            if not isinstance(value, torch.Tensor):
                return f"the optimizer's {name} of parameter {number} is a {type(value).__name__}"
            if value.shape != parameter.shape:
                shapes = f"{list(value.shape)} in the checkpoint, {list(parameter.shape)} in the training"
                return f"the optimizer's {name} of parameter {number}: {shapes}"
    return None
