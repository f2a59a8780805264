"""The API: answers, the socket, its limits."""
