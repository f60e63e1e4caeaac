"""What the container does: boot, bootstrap, doctor, and stopping the pod."""
