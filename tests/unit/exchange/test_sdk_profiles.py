import json
import stat
from pathlib import Path

import pytest

from exchange.errors import InvalidRequest, NotFound
from exchange.sdk import Profile, default_home

PROFILE = Profile("lender", "https://127.0.0.1:1", b"certificate", {"steward": "canary-token"})


def test_a_profile_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    PROFILE.save(tmp_path)
    assert Profile.load(tmp_path, "lender") == PROFILE


def test_only_its_owner_can_read_a_profile(tmp_path: Path) -> None:
    path = PROFILE.save(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_profile_that_others_can_read_is_refused(tmp_path: Path) -> None:
    PROFILE.save(tmp_path).chmod(0o644)
    with pytest.raises(InvalidRequest, match="expected file mode 0600, got 0644"):
        Profile.load(tmp_path, "lender")


def test_saving_again_replaces(tmp_path: Path) -> None:
    PROFILE.save(tmp_path)
    Profile("lender", "https://127.0.0.1:2", b"other", {}).save(tmp_path)
    assert Profile.load(tmp_path, "lender").url == "https://127.0.0.1:2"


def test_a_missing_profile_names_those_that_exist(tmp_path: Path) -> None:
    PROFILE.save(tmp_path)
    with pytest.raises(NotFound, match="found: lender"):
        Profile.load(tmp_path, "bureau")


@pytest.mark.parametrize(
    "document", ["", "[]", "{}", '{"org": "a", "url": "u", "certificate": "", "tokens": 3}']
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, document: str) -> None:
    PROFILE.save(tmp_path).write_text(document)
    with pytest.raises(InvalidRequest, match="org, url, certificate, tokens"):
        Profile.load(tmp_path, "lender")


def test_the_file_has_the_documented_members(tmp_path: Path) -> None:
    document = json.loads(PROFILE.save(tmp_path).read_text())
    assert document == {
        "org": "lender",
        "url": "https://127.0.0.1:1",
        "certificate": "Y2VydGlmaWNhdGU",
        "tokens": {"steward": "canary-token"},
    }


def test_a_profile_shows_no_token() -> None:
    assert "canary-token" not in repr(PROFILE)


def test_home_is_the_environment_or_the_working_directory() -> None:
    assert default_home({}) == Path(".parley")
    assert default_home({"PARLEY_HOME": "/x"}) == Path("/x")
