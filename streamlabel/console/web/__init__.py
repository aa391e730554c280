"""The pages of the console: reviewing, leading, signing in.

Starlette and templates, rendered here; the browser's part is plain JavaScript without a build. No
page holds a script or a style of its own, and nothing is loaded from another host.
"""
