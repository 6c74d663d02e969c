"""Settings of noisy student that would have no effect."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reteach.engine.run import Run
from reteach.errors import UserError
from reteach.methods import noisy_student
from reteach.options.methods import NoisyStudentOptions
from tests.methods.test_semi import setup

ONE = NoisyStudentOptions(generations=1)


@pytest.mark.parametrize(
    "changed", [{"noise": 3}, {"dropout": 0.1}, {"drop_path": 0.1}, {"least": 0.1}]
)
def test_with_one_generation_what_is_for_students_is_refused(changed):
    name = next(iter(changed)).replace("_", "-")
    with pytest.raises(UserError, match=f"^--{name} has no effect with --generations 1"):
        noisy_student.train(
            replace(setup(), unlabeled=None), replace(ONE, **changed), Run.memory(3)
        )


def test_with_one_generation_unlabelled_images_are_refused():
    with pytest.raises(UserError, match=r"^--unlabeled has no effect with --generations 1"):
        noisy_student.train(setup(), ONE, Run.memory(3))
