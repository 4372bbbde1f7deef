"""Exports of trained models to the formats of other libraries, checked by those libraries."""
