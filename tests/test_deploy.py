"""The recipes for clusters: their files are of the right form, and the commands in them are ours."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def parsed(words: list[str], monkeypatch) -> Any:
    """The options of one of our command lines."""
    from reteach import cli

    found: list[Any] = []
    monkeypatch.setattr(cli, "run", lambda options: found.append(options) or Nothing())
    assert cli.main(words) == 0, words
    return found[0]


class Nothing:
    def lines(self):
        return iter(())


def launched(words: list[str], monkeypatch) -> tuple[Any, Any]:
    """What torchrun makes of its part of a command, and we of ours."""
    from torch.distributed.run import parse_args

    assert words[0] == "torchrun"
    told = parse_args(words[1:])
    assert (told.module, told.training_script) == (True, "reteach")
    assert told.rdzv_backend == "c10d"
    assert told.max_restarts > 0
    return told, parsed(told.training_script_args, monkeypatch)


def test_slurm(monkeypatch):
    file = DEPLOY / "slurm.sh"
    text = file.read_text()
    subprocess.run(["bash", "-n", file], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", file], check=True)
    asked = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", text, re.M))
    command = text.replace("\\\n", " ")[text.index("srun ") :].splitlines()[0]
    given = {"SLURM_JOB_NUM_NODES": asked["nodes"], "SLURM_JOB_ID": "1", "first": "node1"}
    given |= dict(re.findall(r"^(\w+)=\$\{\w+:-(\S+)\}$", text, re.M))
    command = re.sub(r"\$(\w+)", lambda name: given[name[1]], command)
    words = shlex.split(command)
    told, options = launched(words[words.index("torchrun") :], monkeypatch)
    assert told.nproc_per_node == asked["gpus-per-node"]
    assert asked["ntasks-per-node"] == "1"
    assert int(asked["cpus-per-task"]) >= int(told.nproc_per_node) * (options.data.workers + 1)
    assert "requeue" in asked
    batch = options.training.batch_size
    assert batch % (int(asked["nodes"]) * int(told.nproc_per_node)) == 0


def test_kubernetes(monkeypatch):
    service, job = documents("kubernetes.yaml")
    assert (service["apiVersion"], service["kind"]) == ("v1", "Service")
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
    spec = job["spec"]
    assert spec["suspend"] is True  # Kueue lets it go
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"]
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] in ("OnFailure", "Never")
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert service["spec"]["clusterIP"] == "None"
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }
    assert all(isinstance(word, str) for word in container["command"])
    told, options = launched(container["command"], monkeypatch)
    assert int(told.nnodes) == spec["completions"]
    first = f"{job['metadata']['name']}-0.{pod['subdomain']}"
    assert told.rdzv_endpoint == f"{first}:{service['spec']['ports'][0]['port']}"
    limits = container["resources"]["limits"]
    assert int(told.nproc_per_node) == limits["nvidia.com/gpu"]
    assert int(limits["cpu"]) >= int(told.nproc_per_node) * (options.data.workers + 1)


def test_ray(monkeypatch):
    (cluster,) = documents("ray.yaml")
    assert {"cluster_name", "provider", "auth", "available_node_types"} <= cluster.keys()
    kinds = cluster["available_node_types"]
    assert cluster["head_node_type"] in kinds
    for kind in kinds.values():
        assert kind["resources"]["CPU"] > 0
        assert 0 <= kind["min_workers"] <= kind["max_workers"] <= cluster["max_workers"]
    command = re.search(r"ray exec \S+ '(.+)'", (DEPLOY / "ray.yaml").read_text())
    assert command is not None
    words = shlex.split(command[1])
    assert words[0] == "reteach"
    assert parsed(words[1:], monkeypatch).ray == "auto"


def test_every_recipe_is_tested_and_documented():
    page = (DEPLOY.parent / "docs" / "multi-node.md").read_text()
    files = {file.name for file in DEPLOY.iterdir()}
    assert files == {"slurm.sh", "kubernetes.yaml", "ray.yaml"}
    assert all(f"deploy/{name}" in page for name in files)
