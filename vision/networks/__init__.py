"""Networks that look at pictures, with torchvision's names of weights."""
