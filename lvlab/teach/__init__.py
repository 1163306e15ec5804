"""What stands round a lesson: checks of the exercises, pictures that explain, viewers to play with."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=["checks", "describe", "lesson", "quizzes", "viewers", "views"])
