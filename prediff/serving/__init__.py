"""Forecasts as a service: a folder of frames in, a folder of forecasts out, for months."""
