"""Pipelines: schedules as data, their simulation, and the executor that runs them."""
