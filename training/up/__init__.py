"""One command for the whole loop: Redis, service, trainer and traffic under one supervisor."""
