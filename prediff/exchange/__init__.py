"""Trained models that travel: one folder with weights, settings, a card and a seal."""
