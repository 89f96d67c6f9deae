"""What runs when: the Kubeflow pipeline, its profiles, the local run, and the command line."""
