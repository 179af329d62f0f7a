"""`prediff check ascend` on hosts without NPU and with the wrong CANN."""

import pytest

from hpc.cluster import ascend_host

pytestmark = pytest.mark.ascend


def test_a_host_without_npu_is_told_so_and_the_device_is_not_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(ascend_host, "NPU_DEVICES", tmp_path)
    monkeypatch.delenv("ASCEND_HOME_PATH", raising=False)
    lines = [str(answer) for answer in ascend_host.check_host()]
    assert lines[0] == f"FAIL  devices: no {tmp_path}/davinci*: no NPU, or no driver"
    assert "FAIL  CANN: ASCEND_HOME_PATH is not set: source its set_env.sh" in lines
    assert lines[-1] == "skip  device: not asked: mend the above first"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Version=7.0.0\n", "7.0.0: this MindSpore wants "),
        ("nothing\n", "no version in "),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_cann_that_does_not_fit_is_named(tmp_path, text, complaint):
    (tmp_path / "compiler").mkdir()
    if text is not None:
        (tmp_path / "compiler" / "version.info").write_text(text)
    answer = ascend_host._cann({"ASCEND_HOME_PATH": str(tmp_path)})
    assert answer.is_good is False
    assert complaint in answer.text
