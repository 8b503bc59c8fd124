"""Imports go down the staircase only, and never in a circle."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

from app.settings import PROJECT

# From the top floor down. A module may import from its own room and from lower floors.
FLOORS = [
    {"app.cli", "app.on_ray"},
    {"app.process"},
    {"app.main"},
    {"app.http"},
    {"app.tasks"},
    {"app.inference"},
    {"app.store", "app.observability"},
    {"app.shared_state", "app.problems"},
    {"app.settings", "app.client"},
    {"leo_client"},
    {"model.training"},
    {"model.evaluation"},
    {"model.baselines"},
    {"model.data"},
    {"model.serving"},
    {"model.leo"},
    {"model.hub"},
    {"model.checkpoint", "model.outer_loop"},
    {"model.networks", "model.functional", "model.background"},
    {"model.images"},
    {"model.config", "model.negatives"},
    {"model.backbones", "model.devices", "model.allocator", "model.parallel"},
    {"model.cgroups", "model.onnx_runtime", "model.regular_files", "model.shipped"},
]


TEST_FILE = re.compile(r"\btests[.\w]*\.(test_\w+|conftest)\b")


def module_name(path: Path, folder: Path) -> str:
    parts = path.relative_to(folder).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PACKAGES = [(PROJECT, "app"), (PROJECT, "model"), (PROJECT / "client", "leo_client")]
FILES = {module_name(path, folder): path for folder, name in PACKAGES for path in sorted((folder / name).rglob("*.py"))}


def imported_by(name: str) -> set[str]:
    """Modules of this project that a module imports, within functions and for type checkers too."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {each for each in found if each in FILES} - {name}


def room(name: str) -> str:
    parts = name.split(".")
    return parts[0] if parts[0] == "leo_client" else ".".join(parts[:2])


def floor(name: str) -> int:
    """0 is the top."""
    (number,) = (number for number, rooms in enumerate(FLOORS) if room(name) in rooms)
    return number


def test_every_room_has_a_floor() -> None:
    assert {room(name) for name in FILES} - {"app", "model"} == set().union(*FLOORS)


def test_imports_go_down() -> None:
    wrong = [
        f"{name} imports {other}"
        for name in FILES
        for other in imported_by(name)
        if "." in name and "." in other and room(name) != room(other) and floor(name) >= floor(other)
    ]
    assert not wrong


def test_there_is_no_circle() -> None:
    # A package's own file only hands names on.
    packages = {name for name, path in FILES.items() if path.name == "__init__.py"}
    graph = {name: imported_by(name) - packages for name in FILES}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(FILES)


def test_the_model_knows_nothing_of_the_service() -> None:
    web = ("app", "fastapi", "starlette", "uvicorn", "redis", "prometheus_client", "pydantic_settings")
    for name, path in FILES.items():
        if name.startswith("model"):
            for node in ast.walk(ast.parse(path.read_text())):
                named = [node.module] if isinstance(node, ast.ImportFrom) else []
                named += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                assert not [one for one in named if one and one.split(".")[0] in web], name


def test_onnx_runtime_is_imported_where_its_telemetry_is_switched_off() -> None:
    importers = {name for name, path in FILES.items() if "import onnxruntime" in path.read_text()}
    assert importers == {"model.onnx_runtime"}


def test_no_file_imports_from_a_test_file() -> None:
    """What tests share is in tests/helpers. Code in strings, which tests run in other processes, counts too."""
    files = [path for top in ("tests", "bench") for path in sorted((PROJECT / top).rglob("*.py"))]
    assert files
    wrong = []
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module or ''}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                names = re.findall(r"(?:from|import) (tests[.\w]*)", node.value)
            else:
                continue
            wrong += [f"{path.relative_to(PROJECT)}: {name}" for name in names if TEST_FILE.search(name)]
    assert not wrong
