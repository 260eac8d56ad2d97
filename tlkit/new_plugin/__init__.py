"""New plugins: a whole distribution, written from templates, that works from the first minute."""
