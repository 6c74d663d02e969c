"""What happens to a machine, and what people and networks feed to a program."""
