"""The rooms of glioflow: one package per step of the pipeline, science in plain modules."""
