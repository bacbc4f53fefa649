"""How the parts may lean on each other, and that they install as one package."""

import ast
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"videossl": "videossl", "datasets": "videossl.datasets", "robot": "videossl.robot"}
FOLDERS["experiments"] = "videossl.experiments"
CORE = ("videossl", "datasets")
MAY_IMPORT = {"videossl": CORE, "datasets": CORE, "robot": (*CORE, "robot"), "experiments": tuple(FOLDERS)}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a name has one place to import it from"
            names.add(node.module)
    return names


def home(module: str) -> str | None:
    """Which of our folders a module is in."""
    if module.split(".")[0] != "videossl":
        return None
    second = module.split(".")[1] if "." in module else ""
    return second if second in FOLDERS else "videossl"


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_point_one_way(folder):
    for path in sources(folder):
        for module in imported(path):
            assert home(module) in (None, *MAY_IMPORT[folder]), f"{path} imports {module}"
            assert module.split(".")[0] not in ("datasets", "robot", "experiments"), f"{path} imports {module}"


def test_the_core_and_the_data_sets_meet_in_plain_dicts():
    for path in sources("videossl"):
        assert not any(home(module) == "datasets" for module in imported(path)), path
    for path in sources("datasets"):
        assert not any(home(module) == "videossl" for module in imported(path)), path


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_a_field_means_stands_where_help_finds_it(folder):
    """On its line or above it: a comment inside of a default's brackets is lost."""
    for path in sources(folder):
        lines = path.read_text().splitlines()
        classes = (node for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, ast.ClassDef))
        for field in (part for node in classes for part in node.body if isinstance(part, ast.AnnAssign)):
            inside = lines[field.lineno - 1 : field.end_lineno] if field.end_lineno > field.lineno else []
            assert not any("  # " in line for line in inside), f"{path}, line {field.lineno}"


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("pybullet", "robot/"),
        ("pybullet_data", "robot/"),
        (
            "av",
            (
                "datasets/decoders.py",
                "datasets/survey.py",
                "experiments/bench/",
                "experiments/export",
                "robot/replay.py",
            ),
        ),
        ("torchcodec", ("datasets/decoders.py", "experiments/bench/")),
        ("decord", ("datasets/decoders.py", "experiments/bench/")),
        ("lz4", "datasets/packed.py"),
    ],
)
def test_simulators_and_decoders_are_touched_in_one_place(library, allowed):
    for folder in FOLDERS:
        for path in sources(folder):
            used = any(module.split(".")[0] == library for module in imported(path))
            assert not used or str(path.relative_to(ROOT)).startswith(allowed), path


def test_packages_are_listed_and_hold_a_docstring_only():
    listed = (ROOT / "setup.cfg").read_text().split("packages =")[1].split("#")[0].split()
    found = []
    for folder, name in FOLDERS.items():
        for path in (ROOT / folder).rglob("__init__.py"):
            tree = ast.parse(path.read_text())
            rest = [ast.unparse(node) for node in tree.body[1:]]
            if path == ROOT / "robot" / "__init__.py":  # which names its environments to gymnasium
                rest = [line for line in rest if not line.startswith(("from gymnasium import register", "register("))]
            assert ast.get_docstring(tree) and not rest, path
            found.append(".".join([name, *path.parent.relative_to(ROOT / folder).parts]))
    assert sorted(found) == sorted(listed)


def test_the_wheel_holds_every_module_and_each_imports_from_an_empty_folder(tmp_path):
    source = tmp_path / "source"
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    files = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in files} == {"videossl"}  # no top-level `datasets` or `robot`
    packed = {name for name in files if not name.startswith("videossl/experiments/results/")}
    ours = [path for folder in FOLDERS for path in (source / folder).rglob("*") if path.suffix in (".py", ".html")]
    assert len(packed) == len(ours)

    unpacked, empty = tmp_path / "unpacked", tmp_path / "empty"
    zipfile.ZipFile(wheel).extractall(unpacked)
    empty.mkdir()
    modules = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in files if ".py" in name]
    code = f"""
import importlib, sys
sys.path.insert(0, {str(unpacked)!r})
for module in {modules!r}:
    assert importlib.import_module(module).__file__.startswith({str(unpacked)!r}), module
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=empty, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
