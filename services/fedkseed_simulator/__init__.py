"""A whole federation in one process under a virtual clock: the very machines and shells that run between machines."""
