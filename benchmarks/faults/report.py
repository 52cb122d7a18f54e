"""The page."""


def page(outcome):
    return ""
