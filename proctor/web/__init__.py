"""HTTP and WebSocket: the server on the port, the application on it, one page of routes per file."""
