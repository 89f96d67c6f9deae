"""Where a task runs on a cluster: its share of a node, its retries, its secret and its volumes."""

from __future__ import annotations

from kfp import dsl, kubernetes

from pipelines.kubeflow.environment import CA_FILE, CA_FOLDER, CA_VARIABLES, secret_environment
from pipelines.profile import Cluster

CHECK = "check"
TRAINING = ("segment", "classify")
CHECKPOINTS = "/checkpoints"
SHARED_MEMORY = "/dev/shm"  # noqa: S108  (a mount point of the pod, not a temporary file)


def place(task: dsl.PipelineTask, step: str, cluster: Cluster) -> None:
    """Give a task its name, its share of a node, its retries and, with a GPU, its node pool."""
    resources = cluster.of(step)
    task.set_display_name(step)
    task.set_cpu_request(resources.cpu).set_cpu_limit(resources.cpu)
    task.set_memory_request(resources.memory).set_memory_limit(resources.memory)
    task.set_retry(resources.retries, backoff_duration="30s", backoff_factor=2.0)
    if not resources.gpus:
        return
    task.set_accelerator_type(cluster.gpu_resource).set_accelerator_limit(resources.gpus)
    if cluster.gpu_node_label:
        kubernetes.add_node_selector(task, *cluster.gpu_node_label)
    if cluster.gpu_taint:
        kubernetes.add_toleration(
            task, key=cluster.gpu_taint, operator="Exists", effect="NoSchedule"
        )


def attach(task: dsl.PipelineTask, step: str, cluster: Cluster) -> None:
    """Give a task what only a cluster has: secrets, certificates, volumes, shared memory."""
    if cluster.secret:
        keys = secret_environment(cluster.secret_keys)
        kubernetes.use_secret_as_env(task, cluster.secret, keys, optional=True)
    if cluster.ca:
        kubernetes.use_config_map_as_volume(task, cluster.ca, CA_FOLDER)
        for variable in CA_VARIABLES:
            task.set_env_variable(variable, CA_FILE)
    # The check writes there before training does.
    if cluster.checkpoints and step in (CHECK, *TRAINING):
        kubernetes.mount_pvc(task, pvc_name=cluster.checkpoints, mount_path=CHECKPOINTS)
        task.set_env_variable("GLIOFLOW_CHECKPOINTS", CHECKPOINTS)
    # Loaders of training keep batches there, Triton's Python backend its tensors.
    if cluster.of(step).gpus or step == CHECK:
        kubernetes.empty_dir_mount(
            task, "shm", SHARED_MEMORY, medium="Memory", size_limit=cluster.shared_memory
        )
