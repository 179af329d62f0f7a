import pytest

from prediff.profiler.breakdown import StepMarks, step_times
from prediff.profiler.operators import Execution, read_executions, read_memory


def graph(start: float, end: float) -> Execution:
    return Execution("Default/net-Net/first-Linear/MatMul-op0", start, end)


def parts(*executions: Execution) -> dict[str, float]:
    marks = StepMarks(asked=1.0, began=2.0, ended=12.0)
    times = step_times(marks, sorted(executions, key=lambda run: run.start))
    assert times.total == pytest.approx(11.0)
    return {name: pytest.approx(value) for name, value in times.model_dump().items() if value}


def test_waiting_computing_and_gaps_are_told_apart():
    assert parts(graph(3, 5), graph(6, 9)) == {"data": 1.0, "compute": 5.0, "host": 5.0}


def test_overlapping_operators_count_once_and_hide_communication():
    reduce = Execution("Default/update-_Update/AllReduce-op0", 4, 8)
    found = parts(graph(3, 6), graph(4, 5), reduce)
    assert found == {"data": 1.0, "compute": 3.0, "communication": 2.0, "host": 5.0}


def test_gaps_beside_eager_operators_are_theirs():
    found = parts(graph(2, 4), Execution("Sin", 5, 6), Execution("Sin", 7, 8), graph(10, 12))
    assert found == {"data": 1.0, "compute": 4.0, "eager": 6.0}


def test_what_runs_outside_of_the_step_is_left_out():
    assert parts(graph(0, 1.5), graph(13, 14)) == {"data": 1.0, "host": 10.0}


def test_the_names_of_operators_tell_module_phase_and_kind():
    backward = Execution(
        "Gradients/Default/gradients-_Gradients/loss-DiffusionLoss/denoiser-UNet/"
        "down_levels-CellList/0-Level/conv_1-Conv3d/Grad_Conv3D/Conv3DBackpropInput-op1",
        0,
        1,
    )
    assert backward.module == "denoiser.down_levels.0.conv_1"
    assert (backward.kind, backward.phase) == ("Conv3DBackpropInput", "backward")
    update = Execution("Default/update-_Update/optimizer-AdamW/Assign-op3", 0, 1)
    assert update.phase == "update"
    assert Execution("Sin", 0, 1).phase == "eager"
    assert Execution("Expand/_SumExt/ReduceSum-op1", 0, 1).phase == "expanded"
    assert Execution("Expand/_SiLUGrad/Mul-op1", 0, 1).phase == "backward"
    loss = Execution("Default/gradients-_Gradients/loss-DiffusionLoss/Add-op1", 0, 1)
    assert (loss.module, loss.phase) == ("loss", "forward")


def test_the_profilers_files_of_a_cpu_run_are_read(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "cpu_op_execute_timestamp_0.txt").write_text(
        "Default/a-Linear/MatMul-op0;HostCpuOps;5000000000,2.5,0 4000000000,1.0,0 \n"
    )
    rows = "\n".join(f"{t}000000000,{100 * t},0,0" for t in range(1000))
    (tmp_path / "cpu_ms_memory_record_0.txt").write_text(f"header\n{rows}\n")
    first, second = read_executions(tmp_path)
    assert (first.start, second.start, second.end) == (4.0, 5.0, 5.0025)
    thinned = read_memory(tmp_path, points=10)
    assert len(thinned) == 10
    assert thinned[-1] == (999.0, 99900.0)


def test_the_tables_of_an_ascend_run_are_read(tmp_path):
    (tmp_path / "kernel_details.csv").write_text(
        "Name,Type,Start Time(us),Duration(us)\nDefault/a-Linear/MatMul-op0,MatMulV3,\t1000.5,20\n"
    )
    (tmp_path / "op_summary_0.csv").write_text(
        "Op Name,OP Type,Task Start Time(us),Task Duration(us)\nhcom_allReduce_,x,2000,30\n"
    )
    product, reduce = read_executions(tmp_path)
    assert product.end - product.start == pytest.approx(20e-6)
    assert product.kind == "MatMul"
    assert reduce.is_collective


def test_operators_of_ours_have_their_own_names():
    def kind(name):
        return Execution(name, 0.0, 1.0).kind

    block = "Default/loss-DiffusionLoss/denoiser-UNet/norm-LayerNorm"
    assert kind(f"{block}/fused-NativeLayerNorm/Custom-op12") == "LayerNorm (native)"
    assert kind(f"Gradients/{block}/fused-NativeLayerNorm/Grad_Custom/Custom-op3") == (
        "LayerNorm (native)"
    )
    assert kind(f"{block}/MatMul-op7") == "MatMul"
    assert kind("Custom-op1") == "Custom"
