"""Statistics on predictions: metrics, tests, cohorts compared, calibration, and the report."""
