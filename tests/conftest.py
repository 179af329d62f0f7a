"""Every test runs on the CPU with one thread a process, whatever the host has."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GLOG_v", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

import hpc  # noqa: F401  (prepares the environment before anything imports MindSpore)
