"""What every package stands on: errors, files, grids, S3, settings, vocabulary."""
