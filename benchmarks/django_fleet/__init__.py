"""A fleet of django-tenants with the tables of `fleets`, to measure beside."""
