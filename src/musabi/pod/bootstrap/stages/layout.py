"""The stages that furnish a workspace: its folders, the wrappers, the templates."""

from typing import Any

from musabi.pod.bootstrap.stage import Context, Facts, Proof, Stage, Work
from musabi.pod.furnish import TEMPLATE_PLACES, WRAPPERS, copy_templates, link_scripts, make_folders, wrappers

__all__ = ["LAYOUT", "SCRIPTS", "TEMPLATES", "WRAPPERS"]


def _make_folders(work: Work) -> Facts:
    make_folders(work.options.space)
    return {}


def _folders_there(context: Context, _facts: Facts) -> Proof:
    return Proof(all(folder.is_dir() for folder in context.options.space.folders))


def _sources(context: Context) -> dict[str, str]:
    return wrappers(context.options.source_root)


def _link_scripts(work: Work) -> Facts:
    sources = link_scripts(work.options.source_root, work.options.space)
    if not sources:
        work.say("no wrappers beside this package; use the musabi command")
    return {"scripts": sources}


def _scripts_there(context: Context, facts: Facts) -> Proof:
    folder = context.options.space.root / "scripts"
    return Proof(all((folder / name).exists() for name in facts.get("scripts", {})))


def _copy_templates(work: Work) -> Facts:
    copy_templates(work.options.source_root, work.options.space)
    return {}


def _templates_there(context: Context, _facts: Facts) -> Proof:
    return Proof(all((context.options.workspace / place).exists() for _, place in TEMPLATE_PLACES))


def _nothing(_context: Context) -> Any:  # noqa: ANN401 - any JSON value
    return None


LAYOUT = Stage("layout", (), "volume", _nothing, _folders_there, _make_folders)
SCRIPTS = Stage("scripts", ("layout",), "volume", _sources, _scripts_there, _link_scripts)
TEMPLATES = Stage("templates", ("layout",), "volume", _nothing, _templates_there, _copy_templates)
