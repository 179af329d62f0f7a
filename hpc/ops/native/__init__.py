"""Operators in portable C++ for CPU hosts, built on first use."""
