"""One table says who may do what: every service asks it, and operators read it."""

import ast

import pytest

from pki.kernel.actor import Actor, ActorKind, Role, device_actor, system_actor
from pki.kernel.errors import DeniedError
from pki.kernel.permissions import RIGHTS, Action, may_do, require_action
from tests import permissions
from tests.architecture.sources import ROOT, modules

KERNEL = ("pki", "kernel")
#: where roles are given out and shown, not asked for
GIVE_ROLES = {
    "fleet/management/benches/growth_scene.py",
    "fleet/operators/identity.py",
    "fleet/operators/models.py",
    "fleet/operators/services/links.py",
    "fleet/operators/services/people.py",
    "fleet/operators/services/tokens.py",
}


def outside_the_kernel():
    return {path: tree for path, tree in modules().items() if path.parts[:2] != KERNEL}


def test_no_code_outside_the_kernel_names_a_role_to_ask_for_it():
    named = {
        str(path)
        for path, tree in outside_the_kernel().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "pki.kernel.actor"
        if any(one.name == "Role" for one in node.names)
    }
    assert named == GIVE_ROLES


def test_every_action_is_asked_for_and_has_its_right():
    asked = {
        node.attr
        for tree in outside_the_kernel().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Action"
    }
    assert asked == {action.name for action in Action}
    assert set(RIGHTS) == set(Action)
    assert all(right.roles and right.does for right in RIGHTS.values())


def test_the_reference_page_says_what_the_table_says():
    assert permissions.DOCUMENT.read_text() == permissions.document(), "run python -m tests.permissions"
    assert "docs/reference/permissions.md" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("action", Action)
def test_an_action_is_for_its_roles_and_for_no_other(action):
    for role in Role:
        who = Actor(ActorKind.OPERATOR, "anna", "default", frozenset({role}))
        wanted = RIGHTS[action].roles
        assert may_do(who, action) is (role in wanted or Role.VIEWER in wanted)
    nobody = Actor(ActorKind.OPERATOR, "anna", "default")
    for stranger in (nobody, device_actor("default", "d1")):
        with pytest.raises(DeniedError):
            require_action(stranger, action)
    require_action(system_actor("default", "job"), action)


def test_a_refusal_names_the_roles_that_would_do():
    with pytest.raises(DeniedError) as refused:
        require_action(Actor(ActorKind.OPERATOR, "anna", "default"), Action.WITHDRAW_RELEASE)
    assert refused.value.detail == "This needs the role release-officer or security-officer. Ask an admin to grant it."
    assert refused.value.context == {"wanted": ["release-officer", "security-officer"]}
