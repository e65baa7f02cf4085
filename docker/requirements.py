"""Write what pyproject.toml asks for as pip's requirements: base.txt, and a file for each extra."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
folder = Path(sys.argv[1])
folder.mkdir()
for name, lines in {"base": project["dependencies"], **project["optional-dependencies"]}.items():
    (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
