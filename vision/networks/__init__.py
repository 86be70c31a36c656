<<<<<<< HEAD
"""Networks that name pictures, and their weights."""
=======
"""Networks that look at pictures, with torchvision's names of weights."""
>>>>>>> main
