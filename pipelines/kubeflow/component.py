"""KFP step: the profile and its cohorts checked as a whole, before any other step."""

from components.core.kfp import triton_component


@triton_component
def check_op(profile: str, cohorts: str) -> str:
    """Check them; see pipelines.kubeflow.checked.check_on_cluster.

    Args:
        profile: Profile as JSON.
        cohorts: JSON list of {name, manifest, ...}.

    Returns:
        `cohorts` with the digests of manifests and images, which the steps' cache keys hold.
    """
    from pipelines.kubeflow.checked import check_on_cluster
    from pipelines.profile import Profile

    return check_on_cluster(Profile.model_validate_json(profile), cohorts)
