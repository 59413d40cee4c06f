"""What the library logs: nothing unless asked, and nothing of what a task says."""

import logging

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from crynux_validate import ModelRef, Runner, TextTask


def test_a_run_is_logged(text_model: ModelRef, caplog: pytest.LogCaptureFixture) -> None:
    task = TextTask(model=text_model, messages=[{"role": "user", "content": "a secret"}], max_new_tokens=2)
    with caplog.at_level(logging.DEBUG, "crynux_validate"), Runner.for_task(task, "cpu") as runner:
        result = runner.run(task)
    lines = [record.getMessage() for record in caplog.records if record.name == "crynux_validate.runner"]
    assert lines[0].startswith(f"loaded {text_model} as {task.dtype} on cpu in ")
    assert lines[1].startswith(f"ran the task {task.digest} in ")
    assert lines[1].endswith(str(result.score))
    assert "secret" not in caplog.text


def test_nothing_is_shown_unless_a_program_asks(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("crynux_validate")
    assert any(isinstance(handler, logging.NullHandler) for handler in logger.handlers)
    logger.warning("nobody reads this")
    assert capsys.readouterr().err == ""
