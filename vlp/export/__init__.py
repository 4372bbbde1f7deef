"""Trained models as folders of other libraries, checked by those libraries before they are kept."""
