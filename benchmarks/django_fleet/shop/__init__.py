"""What each tenant has."""
