"""Generate the reference page of the REST API from its OpenAPI document."""
