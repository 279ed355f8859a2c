"""Servers of our own for the tests, each in a temporary folder and on a free port."""

from .mariadb import MariaDB
from .redis import Redis

__all__ = ["MariaDB", "Redis"]
