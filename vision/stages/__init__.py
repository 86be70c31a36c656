"""What the commands call: each reads directories, writes one, and returns the path it wrote."""
