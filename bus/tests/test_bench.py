"""The measurements that CI relies on can fail."""

from __future__ import annotations

import pytest
import ratio


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratio, "SECONDS", 0.2)
    monkeypatch.setattr(ratio, "ROUNDS", 1)


@pytest.mark.parametrize(("limit", "status"), [(1000.0, 0), (0.0, 1)])
def test_a_ratio_above_its_limit_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], limit: float, status: int
) -> None:
    monkeypatch.setattr(ratio, "LIMITS", {"memory:": limit})

    assert ratio.main() == status
    assert f"the limit is {limit}" in capsys.readouterr().out


def test_an_answer_that_is_no_success_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratio, "BODY", b"no JSON")

    with pytest.raises(RuntimeError, match=r"was answered by b'HTTP/1\.1 400"):
        ratio.main()
