"""A whole federation on one machine: servers of its own, and its services as child processes."""
