"""What was trained leaves the machine: to the hub, to S3, to a file host, or onto the volume."""
