"""Stopping the pod: what decides it, how it is announced, who carries it out, what the pod costs."""

from musabi.pod.stopping.after_run import ended_by_hand, finish

__all__ = ["ended_by_hand", "finish"]
