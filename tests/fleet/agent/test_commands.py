"""The device's own budget: the server may be in wrong hands."""

import logging

import pytest

from fleet.agent.commands import BUDGET, CommandRunner, Ring
from fleet.agent.state import StateFile
from pki.kernel import clock


@pytest.fixture
def did():
    return []


@pytest.fixture
def commands(tmp_path, did):
    def fail():
        message = "no lamp"
        raise OSError(message)

    return CommandRunner(StateFile(tmp_path), {"reboot": lambda: did.append("reboot") or "", "identify": fail})


def word(number, kind="reboot"):
    return {"id": f"id-{number}", "kind": kind}


def test_a_command_is_done_once_however_often_it_comes(commands, did):
    assert commands.obey(word(1)) == commands.obey(word(1)) == ("done", "")
    assert did == ["reboot"]


def test_after_a_restart_it_is_still_known(commands, did, tmp_path):
    commands.obey(word(1))
    again = CommandRunner(StateFile(tmp_path), {"reboot": lambda: did.append("again") or ""})
    assert again.obey(word(1)) == ("done", "")
    assert did == ["reboot"]


def test_the_budget_is_the_devices_own(commands, did):
    answers = [commands.obey(word(number)) for number in range(BUDGET["reboot"] + 2)]
    assert [state for state, _ in answers] == ["done"] * BUDGET["reboot"] + ["refused"] * 2
    assert len(did) == BUDGET["reboot"]


def test_a_day_later_there_is_budget_again(commands, did):
    from datetime import timedelta

    for number in range(BUDGET["reboot"]):
        commands.obey(word(number))
    with clock.frozen(clock.now() + timedelta(days=1, seconds=1)):
        assert commands.obey(word(99))[0] == "done"


def test_refusals_push_nothing_out_of_the_budget_or_the_memory(commands, did):
    for round_ in range(4):
        for number in range(BUDGET["reboot"]):
            commands.obey(word(f"{round_}-{number}"))
        for number in range(60):
            commands.obey(word(f"noise-{round_}-{number}", "unknown"))
    assert len(did) == BUDGET["reboot"]
    assert commands.obey(word("0-0")) == ("done", "")
    assert len(did) == BUDGET["reboot"]


def test_a_clock_that_is_set_back_gives_no_new_budget(commands, did):
    from datetime import timedelta

    for number in range(BUDGET["reboot"]):
        commands.obey(word(number))
    with clock.frozen(clock.now() - timedelta(days=2)):
        assert commands.obey(word(99))[0] == "refused"
    assert len(did) == BUDGET["reboot"]


def test_an_unknown_word_is_refused_and_a_failure_is_told(commands):
    assert commands.obey(word(1, "rm -rf"))[0] == "refused"
    assert commands.obey(word(2, "identify")) == ("failed", "no lamp")


def test_the_log_in_memory_is_bounded():
    ring = Ring(lines=5)
    for number in range(50):
        ring.emit(logging.LogRecord("x", logging.INFO, "", 0, "line %d %s", (number, "y" * 1000), None))
    text = ring.text(1000)
    assert len(text.encode()) <= 1000
    assert "line 44" not in text
