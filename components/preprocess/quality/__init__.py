"""How well a preparation went: warnings, pictures, a page."""
