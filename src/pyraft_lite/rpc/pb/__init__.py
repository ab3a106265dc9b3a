"""Code generated from proto/*.proto by scripts/generate. Do not edit."""
