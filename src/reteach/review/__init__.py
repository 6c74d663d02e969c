"""People in the loop: doubtful labels in order, decisions that last, heads that learn again.

:mod:`.session` is what pages and programs ask; :mod:`.prepare` makes the folder that it opens.
"""
