"""The script that each model version stores (MLflow's models from code).

It names one class of the installed package: a version that was registered before still loads as
long as that name stays, whatever else is renamed.
"""

import mlflow

from components.registry.tracking.model_code import GliomaModel

mlflow.models.set_model(GliomaModel())
