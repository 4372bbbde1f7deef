"""Image-text dual encoders: towers, objectives, data, metrics, retrieval."""
