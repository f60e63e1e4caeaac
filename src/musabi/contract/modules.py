"""The source files of a package, parsed as they are asked for and never run."""

import ast
import warnings
from pathlib import Path
from typing import Any

from musabi.contract.values import External, Folder, Module
from musabi.errors import MachineError


class Package:
    """The package in a folder. `modules` are the files that were asked for, by their path in it.

    The folder itself stands on sys.path too, as the trainer's own scripts put it there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: dict[str, Module] = {}

    def load(self, file: str) -> Module:
        """Return the module of a file, such as `wan/configs/__init__.py`.

        Raises:
            MachineError: it can't be read or is not Python.
        """
        if file not in self.modules:
            parts = tuple(part for part in Path(file).with_suffix("").parts if part != "__init__")
            self.modules[file] = Module(file, parts, self._parse(file))
        return self.modules[file]

    def _parse(self, file: str) -> ast.Module:
        path = self.folder / file
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(path.read_text(encoding="utf-8"))
        except SyntaxError as wrong:
            raise MachineError(
                f"{path} is not Python that can be read: line {wrong.lineno}, {wrong.msg}. "
                "Run musabi bootstrap to fetch the trainer anew."
            ) from None
        except (OSError, ValueError) as wrong:
            raise MachineError(f"{path} can't be read: {wrong}.") from None

    def find(self, dotted: str) -> Any:  # noqa: ANN401 - a Module, a Folder or an External
        """Return what an absolute import of `dotted` gives."""
        parts = tuple(dotted.split("."))
        if parts[0] == self.folder.name:
            return self.inside(parts[1:]) or External(dotted)
        return self.inside(parts) or External(dotted)

    def inside(self, parts: tuple[str, ...]) -> Module | Folder | None:
        """Return the module or sub-package at `parts` in the package, or None."""
        base = "/".join(parts)
        for file in (f"{base}.py", f"{base}/__init__.py") if parts else ("__init__.py",):
            if file in self.modules or (self.folder / file).is_file():
                return self.load(file)
        return Folder(parts) if (self.folder / base).is_dir() else None

    def imported(self, module: Module, node: ast.ImportFrom) -> Any:  # noqa: ANN401 - as find()
        """Return what the `from ...` of an import statement names."""
        if not node.level:
            return self.find(node.module or "")
        is_package = module.file.endswith("__init__.py")
        up = node.level - 1 if is_package else node.level
        parts = module.parts[: len(module.parts) - up] + tuple(
            (node.module or "").split(".") if node.module else ()
        )
        return self.inside(parts) or External(".".join(parts))
