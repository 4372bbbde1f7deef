"""Search over HTTP: an API, and a page in the folder `page` that uses it."""
