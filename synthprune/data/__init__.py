"""Images in, uint8 out: real data sets, synthetic sets, and what a training step does to a batch."""
