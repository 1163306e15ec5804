"""What the command line does, one file a command."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=["check", "compare", "crossval", "deidentify", "doctor", "document", "export", "report",
                          "segment", "sunnybrook", "workers"])
