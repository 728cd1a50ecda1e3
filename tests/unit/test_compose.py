"""docker-compose.yml and deploy/: hardened throughout, secrets by file, and saying nothing that actas does not know.

Nothing runs here; tests/integration/test_deployment.py runs the same files and commands.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import yaml
from flower.events import get_prometheus_metrics
from flower.options import options as flower_options
from pydantic.fields import FieldInfo

from actas.celery_config import QUEUES
from actas.embedded import processes
from actas.embedded.place import Place
from actas.installing import env_files
from actas.settings import PREFIX, Settings

REPO = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((REPO / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOTS = {name for name, service in SERVICES.items() if "profiles" in service}
OURS = {name for name, service in SERVICES.items() if service["image"] == "actas:local"}
SETTINGS = {PREFIX + name.upper() for name in Settings.model_fields}

every_service = pytest.mark.parametrize("name", SERVICES)


def words(name: str) -> list[str]:
    command = SERVICES[name].get("command", [])
    return shlex.split(command) if isinstance(command, str) else command


def celery_words(name: str) -> list[str]:
    return words(name) if words(name)[:1] == ["celery"] else []


CELERY = [name for name in SERVICES if celery_words(name)]


def seconds(duration: str) -> int:
    return int(re.fullmatch(r"(\d+)s", duration)[1])


# --- hardening ---


@every_service
def test_every_service_runs_as_the_owner_of_the_secrets_and_never_as_root_by_default(name):
    assert SERVICES[name]["user"].startswith("${RUN_AS:?")


@every_service
def test_every_service_is_read_only_without_capabilities_or_new_privileges(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["ulimits"] == {"core": 0}
    assert not service.keys() & {"privileged", "devices", "pid", "ipc", "env_file"}
    assert service.get("cap_add", []) == (["IPC_LOCK"] if name == "vault" else [])


@every_service
def test_every_service_has_a_health_check_unless_it_is_over_when_it_is_done(name):
    service = SERVICES[name]
    if name in ONE_SHOTS:
        assert (service["restart"], service["healthcheck"]) == ("no", {"disable": True})
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
        assert seconds(service["healthcheck"]["timeout"]) > 0


@every_service
def test_every_image_is_pinned_or_ours(name):
    image = SERVICES[name]["image"]
    if name in OURS:
        assert (REPO / SERVICES[name]["build"]["dockerfile"]).is_file()
    else:
        assert re.search(r":v?\d+\.\d+\.\d+$", image), image


@every_service
def test_logs_cannot_fill_the_disk(name):
    assert SERVICES[name]["logging"]["options"].keys() == {"max-size", "max-file"}


@pytest.mark.parametrize("name", ["worker", "vault"])
def test_what_holds_keys_in_memory_is_never_swapped_to_disk(name):
    assert SERVICES[name]["mem_limit"] == SERVICES[name]["memswap_limit"]


def test_a_worker_is_given_time_to_end_the_job_in_hand():
    assert seconds(SERVICES["worker"]["stop_grace_period"]) > Settings.model_fields["job_lease_seconds"].default


# --- what reaches whom ---


def test_what_is_published_is_published_to_loopback_only():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.keys() == {"flower", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_all_networks_but_one_are_internal_and_no_server_is_on_that_one():
    assert {name for name, network in COMPOSE["networks"].items() if not network.get("internal")} == {"outside"}
    on_it = {name for name, service in SERVICES.items() if "outside" in service.get("networks", [])}
    assert on_it == {"worker", "scheduler", "flower", "grafana"}
    assert all("networks" in service or name == "replica-set" for name, service in SERVICES.items())


def test_who_looks_on_cannot_reach_mongodb_or_vault():
    for name in ("beat", "flower", "prometheus", "grafana"):
        assert not set(SERVICES[name]["networks"]) & {"mongodb", "vault"}


# --- secrets ---

#: Who is given which; everybody else is given none.
GIVEN = {
    "redis": {"redis-admin"},
    "mongodb1": {"mongodb-key"},
    "mongodb2": {"mongodb-key"},
    "mongodb3": {"mongodb-key"},
    "worker": {"worker.env"},
    "scheduler": {"scheduler.env"},
    "beat": {"scheduler.env"},
    "flower": {"flower.env", "flower-admin"},
    "grafana": {"grafana-admin"},
    "replica-set": {"mongodb-admin"},
    "init": {"redis-admin", "mongodb-admin", "vault-token"},
    "console": {"operator.env"},
}


@every_service
def test_every_service_is_given_the_secrets_of_its_own_role_only(name):
    assert set(SERVICES[name].get("secrets", [])) == GIVEN.get(name, set())


def test_secrets_are_files_outside_the_image_and_the_repository():
    for name, secret in COMPOSE["secrets"].items():
        folder = "./secrets/roles" if name.endswith(".env") else "./secrets"
        assert secret == {"file": f"{folder}/{name}"}
    assert not (REPO / "secrets").exists() or (REPO / "secrets" / ".gitignore").read_text() == "*\n"


@every_service
def test_no_secret_is_an_environment_value(name):
    for key, value in SERVICES[name].get("environment", {}).items():
        if re.search(r"PASSWORD|SECRET|TOKEN|KEY|_URL|CREDENTIAL", key):
            assert key.endswith("__FILE"), key
            assert value.startswith("/run/secrets/"), key


def test_no_file_of_the_deployment_holds_a_credential():
    texts = [REPO / "docker-compose.yml", *(path for path in (REPO / "deploy").rglob("*") if path.is_file())]
    for path in texts:
        text = path.read_text()
        for found in re.findall(r"://[^/\s\"']*:([^/\s@\"']+)@", text):
            assert found.startswith("$(secret"), f"{path}: an address with a password"
        assert not re.search(r"\bhvs\.|\b(?=[A-Za-z+/]*\d)[A-Za-z0-9+/]{32,}", text), f"{path}: a token or a key?"


# --- names ---


def test_every_actas_setting_that_is_named_exists():
    files = [REPO / "docker-compose.yml", REPO / "docs" / "operations.md", REPO / "docs" / "security.md"]
    files += [path for path in (REPO / "deploy").rglob("*") if path.is_file() and "roles" not in path.parts]
    named = {name for path in files for name in re.findall(r"\bACTAS_[A-Z_]*[A-Z]\b", path.read_text())}
    assert named <= SETTINGS, named - SETTINGS


def imported(module: str) -> dict[str, Any]:
    """What a Celery app knows, seen by a process that has nothing but a broker's address, which nobody calls."""
    script = (
        "import importlib, json, sys\n"
        "app = importlib.import_module(sys.argv[1]).app\n"
        "app.loader.import_default_modules()\n"
        "print(json.dumps({'tasks': sorted(app.tasks), 'queues': sorted(app.conf.task_queues)}))\n"
    )
    env = os.environ | {"ACTAS_BROKER_URL": "redis://127.0.0.1:9/0", "PYTHONPATH": str(REPO)}
    done = subprocess.run([sys.executable, "-c", script, module], env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def apps() -> dict[str, dict[str, Any]]:
    modules = {words[words.index("-A") + 1] for words in map(celery_words, CELERY)}
    return {module: imported(module) for module in modules}


def test_the_celery_apps_named_can_be_imported(apps):
    assert apps.keys() == {"worker.app", "scheduler.app"}


def test_workers_use_threads_and_every_queue_has_a_taker(apps):
    taken = []
    for name in ("worker", "scheduler"):
        options = dict(word.removeprefix("--").partition("=")[::2] for word in celery_words(name) if word[:2] == "--")
        assert options["pool"] == "threads"
        taken += options["queues"].split(",")
    assert sorted(taken) == sorted(QUEUES)
    assert all(app["queues"] == sorted(QUEUES) for app in apps.values())


def test_the_embedded_stack_runs_the_same_commands(tmp_path):
    place = Place(tmp_path)
    flower_config = Path("/etc/actas/flowerconfig.py")
    embedded = {
        "worker": processes.worker(place, "worker", 64, {}),
        "scheduler": processes.scheduler(place, {}),
        "beat": processes.beat(place, {}),
        "flower": processes.flower(place, flower_config, "127.0.0.1:5555", {}),
    }
    assert embedded.keys() == set(CELERY)
    for name, process in embedded.items():
        python, dash_m, *command = (word.replace(str(tmp_path), "/tmp") for word in process._argv)
        assert (python, dash_m) == (sys.executable, "-m")
        assert celery_words(name) == command


@pytest.mark.parametrize("name", CELERY)
def test_a_health_check_asks_its_own_process_by_its_own_role(name):
    service = SERVICES[name]
    check = service["healthcheck"]["test"][-1]
    if name == "flower":
        assert "/healthcheck" in check
        return
    assert check.startswith(" ".join(service["entrypoint"]) + " celery -A " + celery_words(name)[2])
    node = "celerybeat" if name == "beat" else name
    assert check.endswith(f"--destination={node}@$$(hostname)")
    assert name == "beat" or f"--hostname={node}@%h" in celery_words(name)


def test_alerts_and_dashboards_name_only_what_flower_measures_and_tasks_that_exist(apps):
    get_prometheus_metrics()
    exposed = prometheus_client.generate_latest().decode()
    metrics = set(re.findall(r"^# TYPE (\w+)", exposed, re.MULTILINE))
    rules = yaml.safe_load((REPO / "deploy/prometheus/alerts.yml").read_text())["groups"]
    dashboard = json.loads((REPO / "deploy/grafana/provisioning/dashboards/actas.json").read_text())
    asked = [rule["expr"] for group in rules for rule in group["rules"]]
    asked += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    named = {name.removesuffix("_bucket") for query in asked for name in re.findall(r"\bflower_\w+", query)}
    assert named
    assert named <= metrics
    tasks = {task for app in apps.values() for task in app["tasks"]}
    for query in asked:
        for pattern in re.findall(r'task=~?"([^"]+)"', query):
            alternatives = re.findall(r"[a-z_]+", pattern.removeprefix("actas."))
            assert {f"actas.{alternative}" for alternative in alternatives} <= tasks


def test_flower_is_read_only_behind_a_password(tmp_path):
    (tmp_path / "flower-admin").write_text("pa55\n")
    text = (REPO / "deploy/flower/flowerconfig.py").read_text().replace("/run/secrets", str(tmp_path))
    said: dict[str, Any] = {}
    exec(compile(text, "flowerconfig.py", "exec"), said)
    assert said["basic_auth"] == ["admin:pa55"]
    assert said["read_only"] is True
    known = {option.replace("-", "_") for option in flower_options._options}
    assert {name for name in said if name[:2] != "__" and name != "Path"} <= known


def test_the_installer_and_the_replica_set_name_the_same_members():
    members = [name for name in SERVICES if name.startswith("mongodb")]
    assert SERVICES["init"]["environment"]["MONGODB_HOSTS"] == ",".join(f"{member}:27017" for member in members)
    assert words("replica-set")[2:] == [f"{member}:27017" for member in members]


# --- files ---


@pytest.fixture
def prepared(tmp_path) -> Path:
    (tmp_path / "deploy").mkdir()
    shutil.copy(REPO / "deploy" / "prepare.sh", tmp_path / "deploy")
    prepare(tmp_path)
    return tmp_path


def prepare(host: Path) -> None:
    subprocess.run(["sh", str(host / "deploy" / "prepare.sh")], check=True, capture_output=True)


def binds() -> list[tuple[str, str]]:
    return [
        (source, mode)
        for service in SERVICES.values()
        for source, _, mode in ((*volume.split(":"), "rw")[:3] for volume in service.get("volumes", []))
    ]


def test_every_mount_is_a_read_only_file_of_the_repository_or_made_by_prepare(prepared):
    for source, mode in binds():
        if source.startswith("./deploy/"):
            assert (REPO / source).exists(), source
            assert mode == "ro", source
        else:
            assert (prepared / source).is_dir(), source


def test_prepare_makes_every_secret_that_neither_vault_nor_the_installer_makes(prepared):
    made = {path.name for path in (prepared / "secrets").iterdir()} - {"roles", ".gitignore"}
    assert made == {name for name in COMPOSE["secrets"] if not name.endswith(".env")} - {"vault-token"}
    values = [(prepared / "secrets" / name).read_text() for name in made]
    assert len(set(values)) == len(values)
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in values)


def test_what_prepare_makes_is_its_owners_only_and_never_committed(prepared):
    for folder in ("secrets", "data", "backup"):
        for path in [prepared / folder, *(prepared / folder).rglob("*")]:
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        assert (prepared / folder / ".gitignore").read_text() == "*\n"


def test_prepare_run_again_changes_nothing(prepared):
    def seen() -> dict[Path, str]:
        return {path: path.read_text() for path in prepared.rglob("*") if path.is_file()}

    before = seen()
    prepare(prepared)
    assert seen() == before


def test_containers_run_as_the_owner_of_the_secrets_and_never_as_root(prepared):
    owner = (prepared / "secrets" / "mongodb-key").stat()
    assert (prepared / ".env").read_text() == f"RUN_AS={owner.st_uid}:{owner.st_gid}\n"
    assert owner.st_uid != 0


def test_the_image_holds_what_it_needs_and_nothing_else():
    first, *rest = [line for line in (REPO / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert first == "*"
    let_in = {line.removeprefix("!") for line in rest if line[0] == "!"}
    assert all((REPO / path).exists() for path in let_in)
    assert let_in == {
        *("LICENSE", "README.md", "pyproject.toml", "constraints.txt"),
        *("actas", "worker", "scheduler", "deploy/bin", "deploy/roles"),
    }


def test_the_image_is_pinned_and_does_not_run_as_root():
    lines = (REPO / "deploy/Dockerfile").read_text().splitlines()
    assert all(re.match(r"FROM python:\d+\.\d+\.\d+-", line) for line in lines if line.startswith("FROM"))
    (user,) = (line.split()[1] for line in lines if line.startswith("USER"))
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_as_role_gives_the_command_exactly_what_the_env_file_says(tmp_path):
    values = {"ACTAS_MONGODB_URL": "mongodb://u:p@h/d?a=b&c=d", "ACTAS_REDIS_URL": 'it\'s "$HOME" `id` \\ # ;'}
    env_files.write(tmp_path / "worker.env", values)
    script = "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k[:6] == 'ACTAS_'}))"
    command = ["sh", str(REPO / "deploy/bin/as-role"), str(tmp_path / "worker.env"), sys.executable, "-c", script]
    done = subprocess.run(command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == values


def test_as_role_without_its_file_says_what_to_do(tmp_path):
    command = ["sh", str(REPO / "deploy/bin/as-role"), str(tmp_path / "worker.env"), "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "run --rm init" in done.stderr


# --- documentation ---


def test_the_settings_table_lists_every_setting_with_its_default_and_no_other():
    text = (REPO / "docs" / "operations.md").read_text()
    rows = dict(re.findall(r"^\| `(ACTAS_[A-Z_]+)` \| ([^|]+) \|", text, re.MULTILINE))
    assert rows == {PREFIX + name.upper(): stated_default(field) for name, field in Settings.model_fields.items()}


def stated_default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    if field.default in (None, {}):
        return "none"
    return f"`{field.default:g}`" if isinstance(field.default, float | int) else f"`{field.default}`"
