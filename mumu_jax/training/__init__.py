"""The training loop on the host: chunks to the devices, checkpoints, logs and initial weights."""
