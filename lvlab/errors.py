"""The one error that is meant for people."""

import textwrap


class CourseError(Exception):
    """Something a person can put right: one line that names the file and the remedy.

    arguments : names of the arguments that help, such as ("resume", "overwrite"). The command line adds them as
        options, a notebook as keywords; the message itself speaks of neither.
    """

    def __init__(self, message, arguments=()):
        super().__init__(message)
        self.arguments = tuple(arguments)

    def _render_traceback_(self):
        """Show the line without a traceback in a notebook."""
        keywords = f" ({', '.join(f'{name}=…' for name in self.arguments)})" if self.arguments else ""
        return textwrap.wrap(f"{self}{keywords}", 100)
