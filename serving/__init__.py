"""From trained models to answers: the Triton ensemble, its local server, its client."""
