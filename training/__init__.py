"""From events to bundles: sources, the streaming trainer, evaluation, and their commands."""
