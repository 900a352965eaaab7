"""The reference page of the REST API, made from its OpenAPI document."""
