"""Tests with MLflow itself, whose requirements differ from the service's: make test-mlflow."""
