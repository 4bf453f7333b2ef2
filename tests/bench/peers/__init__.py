"""What a user would build instead of Proctor, to compare its speed with."""
