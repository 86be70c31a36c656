"""Top floor: the `falconer` command and the jobs composed of several stages."""
