"""Checks one command line against what the installed script accepts, before it is started."""

from collections.abc import Iterator, Sequence

from musabi.contract.arguments import Use, bounds, split
from musabi.contract.fault import Fault
from musabi.contract.kinds import kind_of, mended
from musabi.contract.nearest import nearest
from musabi.contract.surface import Option, Script, Surface


def faults(surface: Surface, script: str, argv: Sequence[str]) -> tuple[Fault, ...]:
    """Return what is wrong with the arguments `argv` of a script, such as `wan_train_network.py`.

    The script is named by its path in the trainer's package; `argv` is what stands behind it.
    """
    known = surface.scripts.get(script)
    if known is None:
        near = nearest(script, surface.scripts)
        hint = f" Did you mean {near}?" if near else ""
        return (Fault(script, "script", f"{surface.name} has no script {script}.{hint}"),)
    loose, uses = split(known, argv)
    found = [fault for use in uses for fault in _of_use(known, use)]
    return (*found, *_positional(known, loose, uses), *_required(known, uses), *_twice(known, uses))


def _of_use(script: Script, use: Use) -> Iterator[Fault]:
    if not use.options:
        if script.whole:
            yield _unknown(script, use)
        return
    option = use.option
    if option is None:
        several = " or ".join(dict.fromkeys(option.flag for option in use.options))
        yield Fault(
            use.written,
            "abbreviation",
            f"The installed {script.file} can't tell which argument {use.written} is: {several}. Write one "
            "of them in full.",
        )
        return
    if use.written not in option.flags:
        yield Fault(
            use.written,
            "abbreviation",
            f"The installed {script.file} would read {use.written} as {option.flag}. Write {option.flag}.",
        )
    yield from _values(script, use, option)
    if option.deprecated:
        mend = f"Write {option.instead} instead." if option.instead else "Leave it out."
        yield Fault(option.flag, "deprecated", f"{use.written} of {script.file} is deprecated. {mend}")


def _unknown(script: Script, use: Use) -> Fault:
    near = nearest(use.written, (flag for flag in script.options if flag.startswith("--")))
    hint = f"Did you mean {near}?" if near else "Leave it out."
    return Fault(
        use.written, "unknown", f"The installed {script.file} knows no argument {use.written}. {hint}"
    )


def _values(script: Script, use: Use, option: Option) -> Iterator[Fault]:
    if option.switch and use.values:
        yield _too_many(script, option, use.values[0])
        return
    if len(use.values) < bounds(option)[0]:
        yield _too_few(script, use, option)
    for value in use.values:
        yield from _value(script, option, value)
    if use.spare and not _has_room(script):
        yield _too_many(script, option, use.spare[0])


def _has_room(script: Script) -> bool:
    """Tell whether values that belong to no flag may be positional arguments."""
    return any(option.positional for option in script.each())


def _value(script: Script, option: Option, value: str) -> Iterator[Fault]:
    kind = kind_of(option)
    try:
        read = kind.read(value)
    except ValueError:
        better = mended(option, value)
        hint = f" Write {better} for {value}." if better else ""
        yield Fault(
            option.flag,
            "type",
            f'The installed {script.file} takes {kind.one} for {option.flag}, not "{value}".{hint}',
        )
        return
    if option.choices is not None and "type" not in option.unread and read not in option.choices:
        names = [str(choice) for choice in option.choices if choice is not None]
        near = nearest(value, names)
        hint = f" Did you mean {near}?" if near else ""
        yield Fault(
            option.flag,
            "choice",
            f'The installed {script.file} takes one of {", ".join(names)} for {option.flag}, not "{value}".{hint}',
        )


def _wanted(option: Option) -> str:
    """Return what the argument takes, in words: `2 whole numbers`, `one of t2v, i2v`."""
    least, most = bounds(option)
    if option.choices:
        return f"one of {', '.join(str(choice) for choice in option.choices if choice is not None)}"
    if least == most == 1 or (least, most) == (0, 1):
        return kind_of(option).one
    count = f"{least} " if least == most else ""
    return f"{count}{kind_of(option).several}"


def _too_few(script: Script, use: Use, option: Option) -> Fault:
    given = f"only {len(use.values)} is given" if use.values else "none is given"
    message = f"The installed {script.file} takes {_wanted(option)} for {option.flag}, and {given}."
    if use.next and not use.values and use.next.startswith("-") and not use.next.startswith("--"):
        message += f" A value that begins with - is written {option.flag}={use.next}."
    return Fault(option.flag, "missing value", message)


def _too_many(script: Script, option: Option, value: str) -> Fault:
    takes = f"takes {'one value' if bounds(option)[1] == 1 else _wanted(option)}"
    if option.switch:
        takes = "is a switch and takes no value"
    return Fault(
        option.flag, "too many", f'The installed {script.file}: {option.flag} {takes}. Leave "{value}" out.'
    )


def _positional(script: Script, loose: Sequence[str], uses: Sequence[Use]) -> Iterator[Fault]:
    """Yield what is wrong with the values that belong to no flag: each run of them is shared out in turn."""
    wanted = [option for option in script.each() if option.positional]
    runs = [loose, *(use.spare for use in uses if use.option is not None and wanted)]
    for run in runs:
        rest = list(run)
        while rest and wanted:
            option = wanted.pop(0)
            most, kept = bounds(option)[1], sum(bounds(other)[0] for other in wanted)
            count = max(1, min(len(rest) - kept, len(rest) if most is None else most))
            for value in rest[:count]:
                yield from _value(script, option, value)
            rest = rest[count:]
        if rest:
            message = f'has no use for "{rest[0]}", which belongs to no flag. Leave it out.'
            yield Fault(rest[0], "too many", f"The installed {script.file} {message}")
    for option in wanted:
        if option.required:
            message = f"needs {option.flag}, and it is not given. Write it without a flag."
            yield Fault(option.flag, "required", f"The installed {script.file} {message}")


def _required(script: Script, uses: Sequence[Use]) -> Iterator[Fault]:
    given = {flag for use in uses if use.option is not None for flag in use.option.flags}
    for option in script.each():
        if option.required and not option.positional and not given & set(option.flags):
            yield Fault(
                option.flag,
                "required",
                f"The installed {script.file} needs {option.flag}, and it is not given. "
                f"Add {option.flag} with {_wanted(option)}.",
            )


def _twice(script: Script, uses: Sequence[Use]) -> Iterator[Fault]:
    given: dict[str, list[list[str]]] = {}
    for use in uses:
        if use.option is not None and not use.option.switch and not use.option.repeats:
            given.setdefault(use.option.flag, []).append(use.values)
    for flag, values in given.items():
        if any(other != values[-1] for other in values):
            last = " ".join(values[-1]) or "nothing"
            yield Fault(
                flag,
                "twice",
                f"{flag} is given to {script.file} more than once, and the last counts: {last}.",
            )
