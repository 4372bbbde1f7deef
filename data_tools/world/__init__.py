"""The built-in world of coloured shapes: scenes, their pictures and everything said of them."""
