"""Self-Contrastive Forward-Forward learning, for the hardware that runs it."""
