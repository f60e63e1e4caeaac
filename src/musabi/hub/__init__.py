"""Fetching weights from the hub, whole and checked, or naming why it can't be done."""
