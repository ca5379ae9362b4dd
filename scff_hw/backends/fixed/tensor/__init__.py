"""The reference's integer arithmetic on PyTorch tensors."""
