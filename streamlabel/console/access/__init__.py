"""Who may do what in the console: accounts, identity providers, proxies, sessions, origins.

Nothing here renders a page. An account of the database decides the role and the tasks, however its
owner signed in; one that was removed there is signed out with its next request.
"""
