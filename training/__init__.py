"""Entry points of training jobs."""
