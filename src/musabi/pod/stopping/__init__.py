"""Stopping the pod: what decides it, how it is announced, who carries it out, what the pod costs."""

from musabi.pod.stopping.after_run import finish

__all__ = ["finish"]
