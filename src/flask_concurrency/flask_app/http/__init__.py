"""What goes over HTTP: status codes, header fields, CORS, the age of a request."""
